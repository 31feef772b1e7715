"""How well an imagined path follows the true one: the trajectory measures of EWMBench.

A path is (F, 2), column and row as fractions of the picture, one point per frame. Definitions and constants
are those of the benchmark's published code (AgibotTech/EWMBench, commit 839409c): each raw score is divided
by a constant and cut at 1. Two things differ. Identical paths score 1 (there: a division by zero, or 0 for
DYN). And time warping is exact, where that code approximates it (fastdtw): HSD and DYN of unequal paths are
the published ones, nDTW is of smooth paths but not of jagged ones, where it can be a tenth higher or lower.
So compare nDTW with other numbers of this code only.
"""

from __future__ import annotations

import numpy as np

from kinema.schema import KinemaError

HSD_MOST, NDTW_MOST, DYN_MOST = 24.979, 50.202, 22.519
VELOCITY_WEIGHT, ACCELERATION_WEIGHT = 0.007, 0.003
MISSING_AT_MOST = 0.8  # share of frames; a path with more of them missing scores 0
_EPSILON = 1e-8


def fill_missing(path: np.ndarray) -> np.ndarray | None:
    """The path with its missing points (NaN) filled: linear between neighbours, the nearest at the ends.

    None when more than MISSING_AT_MOST of the points are missing.
    """
    known = np.flatnonzero(np.isfinite(path).all(1))
    if len(known) < (1 - MISSING_AT_MOST) * len(path) or not len(known):
        return None
    frames = np.arange(len(path))
    return np.stack([np.interp(frames, known, path[known, axis]) for axis in range(2)], 1)


def extent(path: np.ndarray) -> float:
    """The largest distance between two points of a path."""
    return float(_distances(path, path).max())


def hausdorff(path: np.ndarray, other: np.ndarray) -> float:
    """Symmetric: how far the farthest point of either path is from the other path."""
    distance = _distances(path, other)
    return float(max(distance.min(1).max(), distance.min(0).max()))


def warping_distance(path: np.ndarray, other: np.ndarray) -> float:
    """The mean distance of matched points under the best time warping (total cost / matched pairs)."""
    total, pairs = warp(path, other)
    return total / pairs


def warp(path: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """The best time warping of two paths, of any dimension: its total distance, and how many points match."""
    cost = _distances(path, other)
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    length = np.zeros((rows + 1, columns + 1), int)
    total[0, 0] = 0.0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            came = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda cell: total[cell])
            total[i, j] = total[came] + cost[i - 1, j - 1]
            length[i, j] = length[came] + 1
    return float(total[rows, columns]), int(length[rows, columns])


def wasserstein(values: np.ndarray, others: np.ndarray) -> float:
    """W1 between two samples of equal weights: the area between their distribution functions."""
    values, others = np.sort(values), np.sort(others)
    every = np.sort(np.concatenate([values, others]))
    below = np.searchsorted(values, every[:-1], side="right") / len(values)
    below_other = np.searchsorted(others, every[:-1], side="right") / len(others)
    return float((np.abs(below - below_other) * np.diff(every)).sum())


def hsd(imagined: np.ndarray, true: np.ndarray) -> float:
    """1 / Hausdorff distance over its constant, in [0, 1]; higher is better."""
    return _inverse(hausdorff(imagined, true), HSD_MOST)


def ndtw(imagined: np.ndarray, true: np.ndarray) -> float:
    """1 / mean warped distance over its constant, in [0, 1]; higher is better."""
    return _inverse(warping_distance(imagined, true), NDTW_MOST)


def dyn(imagined: np.ndarray, true: np.ndarray) -> float:
    """Whether speeds and their changes are alike, in [0, 1]: range ratio over W1, weighted."""
    speed, true_speed = _speed(imagined), _speed(true)
    change, true_change = np.diff(speed), np.diff(true_speed)
    if not len(change) or not len(true_change):
        raise KinemaError(f"dyn needs paths of at least 3 points; got {len(imagined)} and {len(true)}")
    score = VELOCITY_WEIGHT * _alike(speed, true_speed) + ACCELERATION_WEIGHT * _alike(change, true_change)
    return min(1.0, score / DYN_MOST)


def path_scores(imagined: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """hsd, ndtw and dyn of the gripper that travels farthest in truth. Paths (F, A, 2), NaN where missing.

    An imagined path that is missing too often scores 0; a true one raises KinemaError.
    """
    known = [fill_missing(true[:, arm]) for arm in range(true.shape[1])]
    travelled = [extent(path) if path is not None else -1.0 for path in known]
    arm = int(np.argmax(travelled))
    reference, judged = known[arm], fill_missing(imagined[:, arm])
    if reference is None:
        raise KinemaError("the gripper is seen in too few frames of the true film to judge a path by")
    if judged is None:
        return {"hsd": 0.0, "ndtw": 0.0, "dyn": 0.0}
    return {
        "hsd": hsd(judged, reference),
        "ndtw": ndtw(judged, reference),
        "dyn": dyn(judged, reference),
    }


def _distances(path: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.linalg.norm(path[:, None] - other[None], axis=-1)


def _inverse(distance: float, most: float) -> float:
    return 1.0 if distance * most <= 1.0 else 1.0 / (distance * most)


def _speed(path: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(path, axis=0), axis=-1)


def _alike(values: np.ndarray, true: np.ndarray) -> float:
    spread, true_spread = np.ptp(values), np.ptp(true)
    ratio = (min(spread, true_spread) + _EPSILON) / (max(spread, true_spread) + _EPSILON)
    distance = wasserstein(values, true)
    return float(ratio / distance) if distance > 0 else float("inf")
