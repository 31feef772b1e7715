"""Where things lie in episodes that are none of the benchmark's configurations: near them, by chance."""

from __future__ import annotations

import numpy as np

from kinema.space.rotation import matrix_from_quat, matrix_from_rotvec, quat_from_matrix

_MARGIN_M = 0.01  # beyond the box around the configurations
_TURN_RAD = 0.4  # of the thing that is taken, away from one of its attitudes, either way
_ENOUGH = 1000


def drawn(
    positions_m: np.ndarray, quats_wxyz: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One placement as arrays of one configuration each: (1, 2, 3) [m] and (1, 2, 4).

    positions_m (N, 2, 3), quats_wxyz (M, 2, 4): the benchmark's, of the thing that is taken and its goal.
    Both are drawn from the boxes around where they are there, no nearer to each other than ever there. A goal
    that always lies at one place stays, and no goal is turned.
    """
    low, high = positions_m.min(0), positions_m.max(0)
    moved = (high - low)[:, :2].max(-1) > 0
    margin = _MARGIN_M * moved[:, None] * np.array([1.0, 1.0, 0.0])
    nearest_m = _apart(positions_m).min()
    for _ in range(_ENOUGH):
        places = rng.uniform(low - margin, high + margin)
        if _apart(places) >= nearest_m:
            break
    else:
        raise ValueError(f"no placement {nearest_m} m apart was found in {_ENOUGH}")
    attitudes = np.array(quats_wxyz[rng.integers(len(quats_wxyz))], np.float64)
    attitudes /= np.linalg.norm(attitudes, axis=-1, keepdims=True)
    turn = matrix_from_rotvec(np.array([0.0, 0.0, rng.uniform(-_TURN_RAD, _TURN_RAD)]))
    attitudes[0] = quat_from_matrix(turn @ matrix_from_quat(attitudes[0]))
    return places[None], attitudes[None]


def _apart(places_m: np.ndarray) -> np.ndarray:
    """How far the two are from each other on the table, (..., 2, 3) to (...)."""
    return np.asarray(np.linalg.norm(places_m[..., 0, :2] - places_m[..., 1, :2], axis=-1))
