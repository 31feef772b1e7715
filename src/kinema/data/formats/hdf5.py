"""HDF5 files of two kinds: one episode a file (ACT, ALOHA), or all in one (robomimic)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.formats.source import (
    ForeignSource,
    Series,
    camera,
    image_of,
    stated_rate,
    steady,
    vector,
)
from kinema.data.metadata import ACTION, STATE, Features
from kinema.data.optional import library
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_quat, rotvec_from_matrix

SUFFIXES = (".hdf5", ".h5")
_ARM = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
_ALOHA = [f"{side}_{joint}" for side in ("left", "right") for joint in _ARM]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file for reading. Raises KinemaError when it is none, here or while it is read."""
    h5py = library("h5py", "hdf5", "HDF5 files")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise KinemaError(f"{path} is not a readable HDF5 file: {error}") from None


def is_robomimic(path: Path) -> bool:
    with opened(path) as file:
        return "data" in file and not {"action", "observations"} <= set(file)


class Hdf5Episode:
    """One group of a file. datasets: where each column and camera is in it, by name"""

    def __init__(
        self,
        path: Path,
        group: str,
        datasets: Mapping[str, str],
        rate_hz: float,
        *,
        name: str,
        task: str = "",
    ) -> None:
        self._path, self._group, self._datasets, self._rate_hz = path, group, datasets, rate_hz
        self.name, self.task = name, task

    def column(self, name: str) -> Series:
        values = self._read(name, lambda data: np.asarray(data[()], np.float32))
        if name.endswith(ROTVEC):  # the scalar is last in robosuite's quaternions
            values = rotvec_from_matrix(matrix_from_quat(values[:, [3, 0, 1, 2]]))
        return Series(times_s=steady(len(values), self._rate_hz), values=values.reshape(len(values), -1))

    def frame_times(self, camera: str) -> np.ndarray:
        return steady(self._read(camera, len), self._rate_hz)

    def frames(self, camera: str, indices: np.ndarray) -> np.ndarray:
        order = np.unique(indices)
        found = self._read(camera, lambda data: self._pictures(camera, data, order))
        return found[np.searchsorted(order, indices)]

    def _pictures(self, camera: str, data: Any, rows: np.ndarray) -> np.ndarray:
        stored = data[rows]
        if stored.ndim == 4:
            return np.asarray(stored)
        where = f"{self._path}: {camera}"
        return np.stack(
            [image_of(np.asarray(row).tobytes(), f"{where}, row {i}") for i, row in zip(rows, stored)]
        )

    def _read(self, name: str, read: Callable[[Any], Any]) -> Any:
        with opened(self._path) as file:
            return read(file[self._group][self._datasets[name]])


ROTVEC = "_rotvec"  # of a column made of one that ends in _quat


class Act(ForeignSource):
    """ACT's and ALOHA's episodes: a file each, with qpos and action of both arms in one fixed order."""

    def __init__(self, root: Path, rate_hz: float | None) -> None:
        self.root = root
        self.rate_hz = stated_rate(root, "ACT's files", rate_hz)
        self._paths = files_below(root)
        self._datasets, self.features = self._layout(self._paths[0])

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Hdf5Episode:
        path = self._paths[number]
        found, _ = self._layout(path)
        if found != self._datasets:
            raise KinemaError(f"{path} holds {sorted(found)}, {self._paths[0]} {sorted(self._datasets)}")
        return Hdf5Episode(path, "/", self._datasets, self.rate_hz, name=path.name)

    def _layout(self, path: Path) -> tuple[dict[str, str], Features]:
        """Where columns and cameras are, by name, and their features."""
        named = {STATE: "observations/qpos", ACTION: "action", "base_action": "base_action"}
        named |= {
            f"observation.{n}": f"observations/{m}" for n, m in (("velocity", "qvel"), ("effort", "effort"))
        }
        with opened(path) as file:
            datasets = {name: place for name, place in named.items() if place in file}
            if not {STATE, ACTION} <= set(datasets):
                raise KinemaError(f"{path} is no episode of ACT: it lacks observations/qpos or action")
            features: dict[str, Any] = {}
            for name, place in datasets.items():
                width = file[place].shape[1]
                features[name] = vector(width, _ALOHA if width == len(_ALOHA) else (), name)
            for key in file.get("observations/images", {}):
                data = file[f"observations/images/{key}"]
                shape = (
                    data.shape[1:] if data.ndim == 4 else image_of(data[0].tobytes(), f"{path}: {key}").shape
                )
                datasets[key], features[key] = f"observations/images/{key}", camera(*shape[:2])
        return datasets, features


class Robomimic(ForeignSource):
    """robomimic's and LIBERO's files: data/demo_0, … with actions and obs. Columns are called as in obs.

    Of a quaternion `NAME_quat` there is a rotation vector `NAME_rotvec` as well.
    """

    def __init__(self, root: Path, rate_hz: float | None) -> None:
        self.root = root
        self._demos: list[tuple[Path, str, str]] = []  # file, group and task
        own_hz: set[float] = set()
        for path in files_below(root):
            with opened(path) as file:
                about = {
                    key: json.loads(file["data"].attrs.get(key, "{}")) for key in ("env_args", "problem_info")
                }
                hz = about["env_args"].get("env_kwargs", {}).get("control_freq")
                own_hz |= set() if hz is None else {float(hz)}
                task = "".join(about["problem_info"].get("language_instruction", "")).strip('" ')  # LIBERO's
                demos = sorted(file["data"], key=lambda name: (len(name), name))
                self._demos += [(path, demo, task) for demo in demos]
                if self._demos and path == self._demos[0][0]:
                    self._datasets, self.features = _observations(file["data"][demos[0]])
        if not self._demos:
            raise KinemaError(f"{root} holds no demonstration")
        if len(own_hz) > 1:
            raise KinemaError(f"{root}: its files were recorded at several rates: {sorted(own_hz)} Hz")
        self.rate_hz = stated_rate(root, "files without env_args", rate_hz, *own_hz)

    def __len__(self) -> int:
        return len(self._demos)

    def __getitem__(self, number: int) -> Hdf5Episode:
        path, demo, task = self._demos[number]
        name = f"{path.name}, {demo}"
        return Hdf5Episode(path, f"data/{demo}", self._datasets, self.rate_hz, name=name, task=task)


def _observations(demo: Any) -> tuple[dict[str, str], Features]:
    datasets, features = {ACTION: "actions"}, {ACTION: vector(demo["actions"].shape[1], (), "action")}
    for key, data in demo["obs"].items():
        if data.ndim == 4 and data.dtype == np.uint8 and data.shape[3] == 3:
            datasets[key], features[key] = f"obs/{key}", camera(*data.shape[1:3])
        elif data.ndim in (1, 2) and data.dtype.kind in "fiub":
            width = 1 if data.ndim == 1 else data.shape[1]
            datasets[key], features[key] = f"obs/{key}", vector(width, (), key)
            if key.endswith("_quat") and width == 4:
                turned = key.removesuffix("_quat") + ROTVEC
                datasets[turned], features[turned] = f"obs/{key}", vector(3, (), turned)
    return datasets, features


def files_below(root: Path) -> list[Path]:
    """The HDF5 files of a folder, or the file itself, in the order of the numbers in their names."""
    if root.is_file():
        return [root]
    found = [path for path in root.rglob("*") if path.suffix in SUFFIXES and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (len(path.name), str(path)))
