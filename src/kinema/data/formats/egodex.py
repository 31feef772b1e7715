"""EgoDex (Hoque et al. 2025, arXiv 2505.11709): an HDF5 file of poses beside the film of each episode.

`N.hdf5` has `transforms/JOINT` and `transforms/camera`, (T, 4, 4) in the frame of its recording, at 30 Hz,
and the sentence as an attribute; `N.mp4` has a picture for every row. The camera is taken to look along its
z, with y down, as its `intrinsic` is used. The state is that of the card `ego_hands`: each wrist in the frame
of the camera at the episode's beginning, and ten eigengrasps; an action is the next row's state, for nobody
was commanded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kinema.data.formats.hdf5 import files_below, opened
from kinema.data.formats.source import ForeignSource, Series, camera, stated_rate, steady, vector
from kinema.data.metadata import ACTION, STATE
from kinema.data.video import Decoders, probe
from kinema.schema import KinemaError
from kinema.space.hand_posture import FINGERS, VALUES, eigengrasps, joints_of, wrist_of
from kinema.space.rotation import rotvec_from_matrix

HEAD, RATE_HZ = "head", 30.0
SIDES = ("left", "right")
_PARTS = ("Knuckle", "IntermediateBase", "IntermediateTip", "Tip")
_CHANNELS = ("x", "y", "z", "rx", "ry", "rz", *(f"grasp{i}" for i in range(VALUES)))
_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])  # y down and z ahead, to y up and z back


def joints(side: str) -> tuple[str, ...]:
    """EgoDex's names of a hand's 21 points, in the order of `kinema.space.hand_posture`."""
    fingers = [f"{side}{name.title()}{'' if name == 'thumb' else 'Finger'}" for name in FINGERS]
    return (f"{side}Hand", *(f"{finger}{part}" for finger in fingers for part in _PARTS))


def is_egodex(path: Path) -> bool:
    with opened(path) as file:
        return "transforms/camera" in file


class EgoDex(ForeignSource):
    """Episodes of a folder, or one file."""

    def __init__(self, root: Path, rate_hz: float | None) -> None:
        self.root = root
        self.rate_hz = stated_rate(root, "EgoDex's files", rate_hz, RATE_HZ)
        self._paths = files_below(root)
        if lacking := [path.name for path in self._paths if not path.with_suffix(".mp4").is_file()]:
            raise KinemaError(f"{root}: no film (.mp4) lies beside {', '.join(lacking[:3])}")
        film = probe(self._paths[0].with_suffix(".mp4"))
        names = [f"{side}_{name}" for side in SIDES for name in _CHANNELS]
        self.features = {
            STATE: vector(len(names), names),
            ACTION: vector(len(names), names),
            HEAD: camera(film.height, film.width),
        }
        self._films = Decoders(capacity=1)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> EgoDexEpisode:
        return EgoDexEpisode(self._paths[number], self._films)


class EgoDexEpisode:
    def __init__(self, path: Path, films: Decoders) -> None:
        self._path, self._films = path, films
        self.name = f"{path.parent.name}/{path.name}"
        with opened(path) as file:
            told = {key: _text(value) for key, value in file.attrs.items() if "description" in key}
        second = told.get("which_llm_description") == "2"
        self.task = told.get("llm_description2" if second else "llm_description", "")

    def column(self, name: str) -> Series:
        state = self._state()
        values = np.concatenate([state[1:], state[-1:]]) if name == ACTION else state
        return Series(times_s=steady(len(values), RATE_HZ), values=values.astype(np.float32))

    def frame_times(self, camera: str) -> np.ndarray:
        with opened(self._path) as file:
            rows = len(file["transforms/camera"])
        shown = len(probe(self._film).times_s)
        if shown != rows:
            raise KinemaError(f"{self._film} has {shown} pictures, {self._path.name} beside it {rows} rows")
        return steady(rows, RATE_HZ)

    def frames(self, camera: str, indices: np.ndarray) -> np.ndarray:
        times_s = probe(self._film).times_s
        return self._films[self._film].at(times_s[indices], tolerance_s=0.4 / RATE_HZ)

    @property
    def _film(self) -> Path:
        return self._path.with_suffix(".mp4")

    def _state(self) -> np.ndarray:
        """(T, 32)"""
        with opened(self._path) as file:
            first = np.asarray(file["transforms/camera"][0], np.float64) @ _FROM_OPENCV
            hands = {
                side: np.stack(
                    [np.asarray(file[f"transforms/{joint}"][:, :3, 3], np.float64) for joint in joints(side)],
                    axis=1,
                )
                for side in SIDES
            }
        T_head_world = np.linalg.inv(first)
        parts = []
        for side, points in hands.items():
            wrist = T_head_world @ wrist_of(points, side)
            parts += [wrist[:, :3, 3], rotvec_from_matrix(wrist[:, :3, :3])]
            parts.append(eigengrasps(joints_of(points, side)))
        return np.concatenate(parts, axis=1)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
