"""Reading a LeRobot data set (v3.0, v2.1, v2.0): numbers in memory, pictures decoded on demand."""

from __future__ import annotations

import io
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kinema.data import schema_v21 as v21
from kinema.data import schema_v30 as v30
from kinema.data.journal import is_pending
from kinema.data.metadata import (
    ACTION,
    EXECUTED,
    IMAGE_PREFIX,
    INFO,
    POINTS,
    STATE,
    STATS,
    SUCCESS,
    EpisodeRecord,
    Metadata,
    read_info,
    read_json,
    vector_keys,
)
from kinema.data.video import Decoders
from kinema.schema import KinemaError


class Dataset:
    """A data set of N frames in E episodes, in the order of its `index` column.

    Axes: S state channels, D action channels, V cameras, P points per camera.
    """

    def __init__(self, metadata: Metadata, columns: Mapping[str, np.ndarray]) -> None:
        self.metadata = metadata
        self.root: Path = metadata.root
        self.card_name = metadata.robot_type or ""
        self.fps = metadata.fps
        self.tasks: list[str] = list(metadata.tasks)
        self.camera_names = tuple(key.removeprefix(IMAGE_PREFIX) for key in metadata.camera_keys)
        self._columns = columns
        lengths = np.array([episode.length for episode in metadata.episodes], np.int64)
        ends = lengths.cumsum()
        self.episode_bounds = np.stack([ends - lengths, ends], 1)  # int64 (E, 2): first frame, one past last
        self.num_episodes = len(lengths)
        self.num_frames = int(lengths.sum())
        self.episode_index = columns["episode_index"][:, 0]  # int64 (N,)
        self.frame_index = columns["frame_index"][:, 0]  # int64 (N,)
        self.task_index = columns["task_index"][:, 0]  # int64 (N,)
        self.state = _float32(columns.get(STATE, np.zeros((self.num_frames, 0))))  # (N, S)
        self.action = _float32(self.column(ACTION))  # (N, D)
        self.executed = _float32(columns[EXECUTED]) if EXECUTED in columns else None  # (N, D)
        self.success = columns[SUCCESS][:, 0].astype(bool) if SUCCESS in columns else None  # (N,)
        self.points = self._points()  # float32 (N, V, P, 3) | None
        self._decoders = Decoders()

    @classmethod
    def open(cls, root: Path | str) -> Dataset:
        """Read the data set at `root`. Raises KinemaError naming the file and the fault."""
        metadata = read_metadata(Path(root))
        return cls(metadata, _read_columns(metadata))

    @cached_property
    def statistics(self) -> Mapping[str, Any]:
        """meta/stats.json: min, max, mean, std, count and quantiles by feature.

        Raises KinemaError when there is none (v2.1 has none) or it is damaged.
        """
        path = self.root / STATS
        if not path.is_file():
            raise KinemaError(f"{path} is missing; `kinema data stats {self.root} --write` measures it")
        return read_json(path)

    def column(self, name: str) -> np.ndarray:
        """Any numeric column as (N, n). Raises KinemaError naming the choices."""
        if name not in self._columns:
            near = get_close_matches(name, list(self._columns), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise KinemaError(f"{self.root} has no column {name!r}{hint} It has {sorted(self._columns)}")
        return self._columns[name]

    def window(
        self, i: int | np.ndarray, horizon: int, *, hz: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Frames of the chunk of `horizon` steps that begins at frame i, cut by time inside the episode.

        i: int or int (n,). hz: rate of the steps, the data set's own if None; step k is the frame nearest
        to k / hz after frame i. Returns indices int64 (horizon,) or (n, horizon) and a bool mask of the same
        shape: past the end of the episode the last frame is held and the mask is False.
        """
        start = np.asarray(i, np.int64)[..., None]
        if start.size and (start.min() < 0 or start.max() >= self.num_frames):
            raise IndexError(f"frame {i} is outside 0 … {self.num_frames - 1}")
        steps = np.floor(np.arange(horizon) * (self.fps / (hz or self.fps)) + 0.5).astype(np.int64)
        wanted = start + steps
        last = self.episode_bounds[self.episode_index[start], 1] - 1
        return np.minimum(wanted, last), wanted <= last

    def frames(self, camera: str, indices: np.ndarray | list[int]) -> np.ndarray:
        """Pictures uint8 (n, H, W, 3) of one camera at the given frames, in any order.

        Raises KinemaError for an unknown camera (with suggestions) or a video that lacks a frame.
        """
        key = self.camera_key(camera)
        indices = np.asarray(indices, np.int64)
        if self.metadata.features[key]["dtype"] == "image":
            return self._embedded_frames(key, indices)
        pictures: np.ndarray | None = None
        for path, chosen, times_s in self._by_video(key, indices):
            found = self._decoders[self.root / path].at(times_s, tolerance_s=0.5 / self.fps)
            if pictures is None:
                pictures = np.empty((len(indices), *found.shape[1:]), np.uint8)
            pictures[chosen] = found
        if pictures is None:
            height, width, channels = self.metadata.features[key]["shape"]
            return np.empty((0, height, width, channels), np.uint8)
        return pictures

    def _by_video(self, key: str, indices: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Per video file: positions in `indices` in the order of time, and their times in the file."""
        paths, times_s = [], np.empty(len(indices))
        for position, i in enumerate(indices):
            clip = self.metadata.episodes[int(self.episode_index[i])].clips[key]
            paths.append(clip.path)
            times_s[position] = clip.start_s + self.frame_index[i] / self.fps
        groups = []
        for path in dict.fromkeys(paths):
            chosen = np.array([position for position, p in enumerate(paths) if p == path])
            chosen = chosen[np.argsort(times_s[chosen], kind="stable")]
            groups.append((path, chosen, times_s[chosen]))
        return groups

    def _embedded_frames(self, key: str, indices: np.ndarray) -> np.ndarray:
        """Pictures stored in the parquet files (dtype "image") rather than in videos."""
        pictures: dict[int, np.ndarray] = {}
        for number in np.unique(self.episode_index[indices]):
            episode = self.metadata.episodes[int(number)]
            table = v30.read_table(self.root / episode.data_path, ["episode_index", key])
            inside = np.flatnonzero(v30.column_values(table, "episode_index")[:, 0] == number)
            for i in indices[self.episode_index[indices] == number]:
                stored = table[key][int(inside[0] + self.frame_index[i])].as_py()
                source = io.BytesIO(stored["bytes"]) if stored["bytes"] else self.root / stored["path"]
                pictures[int(i)] = np.asarray(Image.open(source).convert("RGB"))
        return np.stack([pictures[int(i)] for i in indices])

    def camera_key(self, camera: str) -> str:
        """The feature of a camera given by name or feature. Raises KinemaError with suggestions."""
        for key, name in zip(self.metadata.camera_keys, self.camera_names):
            if camera in (key, name):
                return key
        near = get_close_matches(camera, self.camera_names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KinemaError(f"{self.root} has no camera {camera!r}{hint} It has {list(self.camera_names)}")

    def _points(self) -> np.ndarray | None:
        if POINTS not in self._columns:
            return None
        values, views = _float32(self._columns[POINTS]), len(self.camera_names)
        if values.shape[1] % (3 * views):
            raise KinemaError(f"{self.root}: {POINTS} has {values.shape[1]} values for {views} cameras")
        return values.reshape(self.num_frames, views, -1, 3)


def read_metadata(root: Path) -> Metadata:
    """Read the metadata of a v3.0, v2.1 or v2.0 data set. Raises KinemaError naming file and fault."""
    if is_pending(root):
        raise KinemaError(
            f"{root}: a change was interrupted while its files were moved to their places; nothing is lost: "
            f"run `kinema data repair {root}`"
        )
    info = read_info(root)
    version = str(info["codebase_version"])
    if version.startswith("v3."):
        return v30.read(root, info)
    if version in ("v2.1", "v2.0"):
        return v21.read(root, info)
    raise KinemaError(f"{root / INFO}: unknown version {version!r}; readable: v3.0, v2.1, v2.0")


def _read_columns(metadata: Metadata) -> dict[str, np.ndarray]:
    """All numeric columns, and the proof that row i is frame i of the whole data set."""
    names = list(vector_keys(metadata.features))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    in_file: dict[str, list[EpisodeRecord]] = {}
    for episode in metadata.episodes:
        in_file.setdefault(episode.data_path, []).append(episode)
    for path, expected in in_file.items():
        table = v30.read_table(metadata.root / path, names)
        episodes = v30.column_values(table, "episode_index")[:, 0]
        numbers = np.repeat([e.index for e in expected], [e.length for e in expected])
        if not np.array_equal(episodes[: len(numbers)], numbers):
            raise KinemaError(
                f"{metadata.root / path}: rows do not match meta/episodes (index gap or missing frames); "
                f"run `kinema data verify {metadata.root}`"
            )
        for name in names:
            width = int(np.prod(metadata.features[name]["shape"], dtype=int))
            values = v30.column_values(table, name)[: len(numbers)]
            if values.shape[1] != width:
                raise KinemaError(
                    f"{metadata.root / path}: {name} has {values.shape[1]} channels, info.json says {width}"
                )
            parts[name].append(values)
    if not metadata.episodes:
        return {
            name: np.zeros((0, int(np.prod(f["shape"], dtype=int))), f["dtype"])
            for name, f in metadata.features.items()
            if name in names
        }
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    rows = np.arange(len(columns["index"]))
    if not np.array_equal(columns["index"][:, 0], rows):
        at = int(np.flatnonzero(columns["index"][:, 0] != rows)[0])
        raise KinemaError(
            f"{metadata.root}: row {at} has index {columns['index'][at, 0]} (index gap); "
            f"run `kinema data repair {metadata.root}`"
        )
    return columns


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
