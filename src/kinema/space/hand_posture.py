"""A hand's joints as ten numbers (eigengrasps), and its wrist, from where its joints are.

A hand is 21 points, the wrist and four of each finger from its knuckle to its tip, or a wrist pose and 20
angles [rad], of each finger: spread, and flexion at its three joints. The wrist's frame is that of a hand
that points away, palm down: x to the right, y out of its back, z from the fingers to the wrist. A left
hand's angles are its mirror image's.

Eigengrasps are coordinates in the principal components of hand postures (Ciocarlie and Allen 2009; Qwen-VLA,
arXiv 2605.30280, has ten of MANO's 45). MANO's are not free, so ours are those of the eleven postures below,
written down by hand after the grasps of Feix et al. 2016: ten components, which say all of what lies between
these postures and the nearest of anything else. Numbers of another basis are not numbers of this one.

Axes: ... any, 21 points, 5 fingers, 20 angles, 10 values.
"""

from __future__ import annotations

import numpy as np

FINGERS = ("thumb", "index", "middle", "ring", "little")
POINTS, ANGLES, VALUES = 21, 20, 10

# Of an adult's right hand, in its wrist's frame [m]: knuckles, lengths from joint to joint, rest directions.
_KNUCKLES_M = np.array(
    [[-0.030, -0.012, -0.030], [-0.025, 0, -0.095], [0, 0, -0.098], [0.020, 0, -0.092], [0.037, 0, -0.083]]
)
_LENGTHS_M = np.array(
    [[0.046, 0.034, 0.028], [0.045, 0.026, 0.020], [0.050, 0.030, 0.022], [0.046, 0.028, 0.022],
     [0.036, 0.021, 0.019]]
)  # fmt: skip
_REST_RAD = np.array([-0.80, -0.08, 0.0, 0.06, 0.14])  # of a finger from straight ahead, to the right

# thumb, index, middle, ring, little: spread and three flexions each
POSTURES = {
    "open": (
        (0, 0.1, 0.1, 0.1), (0, 0.1, 0.1, 0.1), (0, 0.1, 0.1, 0.1),
        (0, 0.1, 0.1, 0.1), (0, 0.1, 0.1, 0.1),
    ),
    "relaxed": (
        (0.3, 0.3, 0.2, 0.2), (0, 0.4, 0.5, 0.3), (0, 0.5, 0.6, 0.3),
        (0, 0.5, 0.6, 0.4), (0, 0.6, 0.6, 0.4),
    ),
    "fist": (
        (0.7, 0.5, 0.6, 0.9), (0, 1.3, 1.6, 1), (0, 1.35, 1.6, 1),
        (0, 1.35, 1.6, 1), (0, 1.3, 1.6, 1),
    ),
    "point": (
        (0.6, 0.5, 0.6, 0.8), (0, 0.1, 0.1, 0.1), (0, 1.3, 1.5, 0.9),
        (0, 1.3, 1.6, 1), (0, 1.3, 1.5, 1),
    ),
    "pinch": (
        (0.85, 0.45, 0.35, 0.35), (0, 0.9, 0.9, 0.6), (0, 0.8, 0.8, 0.5),
        (0, 0.9, 1, 0.6), (0, 1, 1, 0.6),
    ),
    "open pinch": (
        (0.8, 0.8, 0.1, 0.1), (0, 0.3, 0.3, 0.2), (0, 0.35, 0.35, 0.2),
        (0, 0.8, 0.9, 0.5), (0, 0.9, 1, 0.6),
    ),
    "tripod": (
        (0.9, 0.5, 0.4, 0.4), (0.05, 0.9, 0.9, 0.5), (0, 0.95, 0.95, 0.5),
        (0, 1.2, 1.4, 0.8), (0, 1.2, 1.4, 0.9),
    ),
    "key": (
        (0.2, 0.3, 0.3, 0.5), (0, 0.9, 1.3, 0.6), (0, 1, 1.4, 0.7),
        (0, 1.1, 1.4, 0.8), (0, 1.1, 1.4, 0.8),
    ),
    "spread": (
        (-0.2, 0.1, 0.1, 0), (-0.3, 0.1, 0.1, 0.1), (0, 0.1, 0.1, 0.1),
        (0.25, 0.1, 0.1, 0.1), (0.45, 0.1, 0.1, 0.1),
    ),
    "hook": (
        (0.1, 0.2, 0.3, 0.3), (0, 0.2, 1.5, 1.1), (0, 0.2, 1.6, 1.1),
        (0, 0.2, 1.6, 1.1), (0, 0.3, 1.5, 1.1),
    ),
    "ball": (
        (0.5, 0.5, 0.2, 0.2), (-0.2, 0.5, 0.6, 0.4), (-0.05, 0.5, 0.7, 0.4),
        (0.12, 0.5, 0.7, 0.4), (0.25, 0.6, 0.6, 0.4),
    ),
}  # fmt: skip


def posture(name: str) -> np.ndarray:
    """The angles (20,) of a posture by its name."""
    return np.array(POSTURES[name], float).ravel()


def _components() -> tuple[np.ndarray, np.ndarray]:
    """Mean (20,) and orthonormal rows (10, 20), the widest first, each with its largest entry positive."""
    table = np.stack([posture(name) for name in POSTURES])
    mean = table.mean(0)
    rows = np.linalg.svd(table - mean)[2][:VALUES]
    return mean, rows * np.sign(rows[np.arange(VALUES), np.abs(rows).argmax(1)])[:, None]


_MEAN, _ROWS = _components()


def eigengrasps(angles_rad: np.ndarray) -> np.ndarray:
    """The values (..., 10) [rad] of angles (..., 20)."""
    return (angles_rad - _MEAN) @ _ROWS.T


def angles_of(values: np.ndarray) -> np.ndarray:
    """The angles (..., 20) [rad] of values (..., 10)."""
    return _MEAN + values @ _ROWS


def points_of(angles_rad: np.ndarray) -> np.ndarray:
    """Where a right hand's points are in its wrist's frame (..., 21, 3) [m], of angles (..., 20)."""
    angles = angles_rad.reshape(*angles_rad.shape[:-1], 5, 4)
    ahead = _ahead(_REST_RAD + angles[..., 0])[..., None, :]
    bent = np.cumsum(angles[..., 1:], -1)[..., None]
    steps = _LENGTHS_M[..., None] * (np.cos(bent) * ahead - np.sin(bent) * np.array([0.0, 1.0, 0.0]))
    knuckles = np.broadcast_to(_KNUCKLES_M[:, None], (*steps.shape[:-2], 1, 3))
    fingers = np.concatenate([knuckles, knuckles + np.cumsum(steps, -2)], -2)
    fingers = fingers.reshape(*angles_rad.shape[:-1], POINTS - 1, 3)
    return np.concatenate([np.zeros_like(fingers[..., :1, :]), fingers], -2)


def wrist_of(points_m: np.ndarray, side: str) -> np.ndarray:
    """The wrist's poses (..., 4, 4) in the frame of a hand's points (..., 21, 3), from wrist and knuckles."""
    wrist, index, middle, little = (points_m[..., i, :] for i in (0, 5, 9, 17))
    back = _unit(wrist - middle)
    right = (little - index) * (1.0 if side == "right" else -1.0)
    right = _unit(right - (right * back).sum(-1, keepdims=True) * back)
    T = np.zeros((*points_m.shape[:-2], 4, 4))
    T[..., :3, :3] = np.stack([right, np.cross(back, right), back], -1)
    T[..., :3, 3], T[..., 3, 3] = wrist, 1.0
    return T


def joints_of(points_m: np.ndarray, side: str) -> np.ndarray:
    """The angles (..., 20) [rad] of a hand's points (..., 21, 3) in any frame, however long its bones."""
    T = wrist_of(points_m, side)
    local = (points_m - T[..., None, :3, 3]) @ T[..., :3, :3]
    if side == "left":
        local = local * np.array([-1.0, 1.0, 1.0])
    bones = np.diff(local[..., 1:, :].reshape(*local.shape[:-2], 5, 4, 3), axis=-2)
    first = bones[..., 0, :]
    ahead = _ahead(np.arctan2(first[..., 0], -first[..., 2]))
    along = (bones * ahead[..., None, :]).sum(-1)
    bent = np.unwrap(np.arctan2(-bones[..., 1], along), axis=-1)
    spread = np.arctan2(first[..., 0], -first[..., 2]) - _REST_RAD
    spread = (spread + np.pi) % (2 * np.pi) - np.pi
    flexions = np.diff(bent, axis=-1, prepend=0.0)
    return np.concatenate([spread[..., None], flexions], -1).reshape(*local.shape[:-2], ANGLES)


def _ahead(azimuth_rad: np.ndarray) -> np.ndarray:
    """Level directions (..., 3), by how far to the right of straight ahead."""
    return np.stack([np.sin(azimuth_rad), np.zeros_like(azimuth_rad), -np.cos(azimuth_rad)], -1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
