"""Tracks of made-up scenes: things at chosen places in metres, as a perfect detector would see them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kinema.bench.metrics.geometry import Pinhole, fixed_camera
from kinema.bench.metrics.tracks import Tracks
from kinema.card.load import load_card

THINGS = (
    "red block", "blue block", "green bowl", "yellow area", "red button", "blue button",
    "red pressed button", "blue pressed button", "drawer handle", "right tray handle", "left tray handle",
    "box", "gripper",
)  # fmt: skip
CARD = load_card("panda")
FRONT, CAMERA = fixed_camera(CARD)
HALF_M = 0.0225
FRAMES = 7


def wrist_pose() -> Pinhole:
    """A second camera, looking straight down on the work area."""
    return Pinhole(position_m=np.array([0.5, 0.05, 0.6]), rotation=np.eye(3), fovy_rad=1.2)


def go(start: tuple[float, float, float], end: tuple[float, float, float]) -> np.ndarray:
    """A straight path (FRAMES, 3) that ends two frames before the film does."""
    share = np.minimum(np.arange(FRAMES) / (FRAMES - 3), 1.0)[:, None]
    return np.array(start) * (1 - share) + np.array(end) * share


def stay(*place: float) -> np.ndarray:
    return np.repeat(np.array([place], np.float64), FRAMES, 0)


def tracks_of(
    paths_m: Mapping[str, np.ndarray], unseen: Mapping[str, slice] | None = None, wrist: Pinhole | None = None
) -> Tracks:
    """paths_m: (FRAMES, 3) by thing; unseen: frames in which the fixed camera does not see a thing."""
    pinhole = wrist or wrist_pose()
    points = np.zeros((FRAMES, 2, len(THINGS), 3))
    for name, path_m in paths_m.items():
        row = THINGS.index(name)
        for view, camera in enumerate((CAMERA, pinhole)):
            points[:, view, row, :2] = camera.project(path_m)
            points[:, view, row, 2] = 1.0
        if unseen and name in unseen:
            points[unseen[name], 0, row, 2] = 0.0
    return Tracks(things=THINGS, cameras=(FRONT, "wrist"), points=points)
