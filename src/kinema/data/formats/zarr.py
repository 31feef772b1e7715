"""Replay buffers in Zarr, diffusion policy's and UMI's: all episodes on end, and `meta/episode_ends`.

UMI records where the gripper was and no command; what it learns from is where it will be next. So a buffer
without `action` has one here: the measured pose, width included, of the row behind, for each robot.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.formats.source import ForeignSource, Series, camera, stated_rate, steady, vector
from kinema.data.metadata import ACTION, STATE, Features
from kinema.data.optional import library
from kinema.schema import KinemaError

_POSE = ("eef_pos", "eef_rot_axis_angle", "gripper_width")  # of each robot, in this order


class ReplayBuffer(ForeignSource):
    def __init__(self, root: Path, rate_hz: float | None) -> None:
        self.root = root
        self.rate_hz = stated_rate(root, "replay buffers", rate_hz)
        self._data, ends = _opened(root)
        self._bounds = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
        if (np.diff(self._bounds) <= 0).any():
            raise KinemaError(f"{root}: meta/episode_ends does not rise: {ends[:10].tolist()}")
        self._umi = _umi_poses(self._data) if ACTION not in self._data else []
        self.features = self._features(int(ends[-1]))

    def __len__(self) -> int:
        return len(self._bounds)

    def __getitem__(self, number: int) -> BufferEpisode:
        first, end = self._bounds[number].tolist()
        return BufferEpisode(self, first, end, f"episode {number}")

    def rows(self, name: str, first: int, end: int) -> np.ndarray:
        """A column's rows, float32 (T, n)."""
        if name in (STATE, ACTION) and self._umi:
            poses = np.concatenate([self.rows(own, first, end) for own in self._umi], axis=1)
            return poses if name == STATE else np.concatenate([poses[1:], poses[-1:]])
        values = np.asarray(self._data[name][first:end], np.float32)
        return values.reshape(len(values), -1)

    def pictures(self, name: str, rows: np.ndarray) -> np.ndarray:
        stored = np.stack([self._data[name][int(row)] for row in rows])
        return stored if stored.dtype == np.uint8 else np.clip(np.rint(stored), 0, 255).astype(np.uint8)

    def _features(self, rows: int) -> Features:
        features: dict[str, Any] = {}
        for name, data in sorted(self._data.arrays()):
            if data.ndim and data.shape[0] < rows:
                raise KinemaError(f"{self.root}: {name} has {data.shape[0]} rows, the episodes {rows}")
            if data.ndim == 4 and data.shape[3] == 3:
                features[name] = camera(*data.shape[1:3])
            elif data.ndim in (1, 2) and np.dtype(data.dtype).kind in "fiub":
                features[name] = vector(1 if data.ndim == 1 else data.shape[1], (), name)
        if self._umi:
            width = sum(features[own]["shape"][0] for own in self._umi)
            features |= {name: vector(width, (), name) for name in (STATE, ACTION)}
        return features


class BufferEpisode:
    task = ""

    def __init__(self, buffer: ReplayBuffer, first: int, end: int, name: str) -> None:
        self._buffer, self._first, self._end, self.name = buffer, first, end, name
        self._times_s = steady(end - first, buffer.rate_hz)

    def column(self, name: str) -> Series:
        return Series(times_s=self._times_s, values=self._buffer.rows(name, self._first, self._end))

    def frame_times(self, camera: str) -> np.ndarray:
        return self._times_s

    def frames(self, camera: str, indices: np.ndarray) -> np.ndarray:
        return self._buffer.pictures(camera, self._first + np.asarray(indices))


def _opened(root: Path) -> tuple[Any, np.ndarray]:
    """The group of arrays and the end (E,) of each episode. Raises KinemaError where there is no buffer."""
    zarr = library("zarr", "zarr", "replay buffers")
    with suppress(KinemaError):  # UMI's pictures are JPEG XL, which is read where imagecodecs is installed
        library("imagecodecs.numcodecs", "zarr", "pictures in JPEG XL").register_codecs()
    try:
        store = zarr.storage.ZipStore(root, mode="r") if root.is_file() else str(root)
        group = zarr.open_group(store, mode="r")
        ends = np.asarray(group["meta/episode_ends"][:], np.int64)
        data = group["data"]
    except (OSError, KeyError, ValueError, TypeError) as error:
        if "imagecodecs" in str(error):
            raise KinemaError(
                f"{root}: {error}; its pictures need imagecodecs: pip install imagecodecs"
            ) from None
        raise KinemaError(f"{root} is not a replay buffer with data and meta/episode_ends: {error}") from None
    if not len(ends):
        raise KinemaError(f"{root} holds no episode")
    return data, ends


def _umi_poses(data: Any) -> list[str]:
    """UMI's columns of all robots, in the order in which UMI joins them."""
    found = []
    for robot in range(10):
        own = [f"robot{robot}_{part}" for part in _POSE]
        found += own if all(name in data for name in own) else []
    return found
