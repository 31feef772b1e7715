"""EgoDex's files, built to its published layout: known hands before a known camera come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.data.convert import convert
from kinema.data.formats.egodex import EgoDex, joints
from kinema.data.formats.opened import open_source
from kinema.data.lerobot import Dataset
from kinema.data.video import encode
from kinema.schema import KinemaError
from kinema.space.hand_posture import eigengrasps, points_of, posture
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

h5py = pytest.importorskip("h5py")
CARD = load_card("ego_hands")
ROWS = 45
# the camera's own axes by those of its frame as kinema has it: y up, z back
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def pose(rotvec: list[float], place: list[float]) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = matrix_from_rotvec(np.array(rotvec, float)), place
    return T


def write(folder: Path, rows: int = ROWS, frames: int = ROWS) -> np.ndarray:
    """One episode; returns its states (T, 32) as they must be read."""
    folder.mkdir(parents=True, exist_ok=True)
    heads = [pose([0.2 + 0.002 * t, 0.4, -0.1], [0.3, 1.2, -0.5 + 0.001 * t]) for t in range(rows)]
    states, seen = [], {joint: [] for side in ("left", "right") for joint in joints(side)}
    for t in range(rows):
        row: list[np.ndarray] = []
        for side, x in (("left", -0.2), ("right", 0.2)):
            wrist = pose([0.1, -0.3, 0.01 * t], [x, -0.3, -0.4 + 0.002 * t])  # in the first camera's frame
            share = t / rows
            angles = (1 - share) * posture("open") + share * posture("pinch")
            points = points_of(angles) * np.array([-1.0 if side == "left" else 1.0, 1.0, 1.0])
            world = heads[0] @ FLIP @ wrist
            for joint, point in zip(joints(side), points @ world[:3, :3].T + world[:3, 3]):
                T = np.eye(4)
                T[:3, 3] = point
                seen[joint].append(T)
            row += [wrist[:3, 3], rotvec_from_matrix(wrist[:3, :3]), eigengrasps(angles)]
        states.append(np.concatenate(row))
    with h5py.File(folder / "0.hdf5", "w") as file:
        file["camera/intrinsic"] = np.eye(3)
        file["transforms/camera"] = np.array(heads, np.float32)
        for joint, poses in seen.items():
            file[f"transforms/{joint}"] = np.array(poses, np.float32)
            file[f"confidences/{joint}"] = np.ones(rows, np.float32)
        file.attrs["llm_description"] = "put the lid on"
        file.attrs["llm_description2"] = "take the lid off"
        file.attrs["which_llm_description"] = "2"
    shades = np.linspace(20, 230, frames).astype(np.uint8)
    encode(folder / "0.mp4", np.broadcast_to(shades[:, None, None, None], (frames, 48, 64, 3)), 30.0)
    return np.array(states)


def test_hands_and_pictures_come_back_at_the_cards_rate(tmp_path: Path) -> None:
    states = write(tmp_path / "part1/lid")
    source = open_source(tmp_path / "part1", CARD)
    assert source[0].task == "take the lid off"
    column = source[0].column("observation.state")
    np.testing.assert_allclose(column.values, states, atol=2e-4)
    np.testing.assert_array_equal(source[0].column("action").values[:-1], column.values[1:])
    assert convert(source, CARD, tmp_path / "out", image_size=32) == []
    dataset = Dataset.open(tmp_path / "out")
    assert len(dataset.state) == ROWS // 3
    np.testing.assert_allclose(dataset.state, states[::3], atol=2e-3)
    np.testing.assert_allclose(dataset.action[:-1], states[3::3], atol=2e-3)  # where the hand is a step later
    shades = dataset.frames("head", np.array([0, 14])).mean((1, 2, 3))
    np.testing.assert_allclose(shades, np.linspace(20, 230, ROWS)[[0, 42]], atol=4)


def test_a_film_that_is_missing_or_of_another_length_is_named(tmp_path: Path) -> None:
    write(tmp_path / "short", frames=ROWS - 5)
    with pytest.raises(KinemaError, match=r"0\.mp4 has 40 pictures, 0\.hdf5 beside it 45 rows"):
        EgoDex(tmp_path / "short", None)[0].frame_times("head")
    (tmp_path / "short/0.mp4").unlink()
    with pytest.raises(KinemaError, match=r"no film \(\.mp4\) lies beside 0\.hdf5"):
        open_source(tmp_path / "short", CARD)


def test_a_hand_that_lacks_a_joint_and_another_rate_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "set")
    with pytest.raises(KinemaError, match="30 Hz, not 50"):
        EgoDex(tmp_path / "set", 50.0)
    with h5py.File(tmp_path / "set/0.hdf5", "a") as file:
        del file["transforms/leftThumbTip"]
    with pytest.raises(KinemaError, match="leftThumbTip"):
        EgoDex(tmp_path / "set", None)[0].column("observation.state")
