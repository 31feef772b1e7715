"""The metrics of VLN-CE, as its code has them (jacobkrantz/VLN-CE, habitat_extensions/measures.py).

That code differs from the usual prose in details, which are kept: a success is nearer than 3 m, not at 3 m;
an oracle success counts the start; the length of a path is the sum of straight lines between steps; warping
compares with where the expert went, leaves out steps on the spot, and is asked for without a stop as well.
One thing differs: warping is exact there only within fastdtw's radius, and here always.
Axes: N steps and the start, M places of the expert.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.bench.metrics.paths import warp
from kinema.schema import KinemaError

SUCCESS_M = 3.0


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What is known of an episode.

    places:      (N, 2 or 3), the start first [m]
    distances_m: (N,), how far it is on foot from each to the goal
    truth:       (M, 2 or 3), where the expert was
    success_m:   how near is near enough
    """

    places: np.ndarray
    distances_m: np.ndarray
    truth: np.ndarray
    stop_called: bool
    success_m: float = SUCCESS_M

    def __post_init__(self) -> None:
        if len(self.places) != len(self.distances_m) or not len(self.places) or not len(self.truth):
            raise KinemaError(
                f"a walk needs a distance for each of its places, at least one, and an expert's; got "
                f"{len(self.places)} places, {len(self.distances_m)} distances, {len(self.truth)} expert's"
            )


def metrics(walk: Walk) -> dict[str, float]:
    """NE and path length [m], and OSR, SR, SPL, nDTW and SDTW in [0, 1], by the names of VLN-CE's table."""
    success = float(walk.stop_called and walk.distances_m[-1] < walk.success_m)
    start_m, length_m = float(walk.distances_m[0]), path_length_m(walk.places)
    closeness = ndtw(walk.places, walk.truth, walk.success_m)
    return {
        "ne_m": float(walk.distances_m[-1]),
        "osr": float((walk.distances_m < walk.success_m).any()),
        "sr": success,
        "spl": success * start_m / max(start_m, length_m),
        "ndtw": closeness,
        "sdtw": success * closeness,
        "path_length_m": length_m,
    }


def path_length_m(places: np.ndarray) -> float:
    """The straight lines (N, 2 or 3) between places, added up."""
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())


def ndtw(places: np.ndarray, truth: np.ndarray, success_m: float = SUCCESS_M) -> float:
    """Normalised dynamic time warping of two paths (Ilharco et al. 2019, arXiv 1907.05446)."""
    moved = np.concatenate([[True], (np.diff(places, axis=0) != 0).any(1)])
    total, _ = warp(places[moved], truth)
    return float(np.exp(-total / (len(truth) * success_m)))
