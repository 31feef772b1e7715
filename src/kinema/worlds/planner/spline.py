"""Paths as uniform cubic B-splines, which keep a limit wherever their control points do.

A B-spline lies in the hull of its control points; its velocity lies in the hull of their differences, divided
by the time between two of them, and its acceleration in that of the second differences, by the square of that
time. So limits hold everywhere on a path, and not only where somebody looked, and the shortest time in which
a path keeps them follows without a search (de Boor 1978). Both ends stand still: their points come thrice.

Axes: n paths, L control points, D channels, F frames of all paths on end.
"""

from __future__ import annotations

import numpy as np

_AT_REST = 3  # equal control points at which a cubic spline stands still


def at_rest(points: np.ndarray) -> np.ndarray:
    """Control points (n, L, D) with rests at both ends: (n, L + 4, D)."""
    first, last = points[:, :1], points[:, -1:]
    more = _AT_REST - 1
    return np.concatenate([first.repeat(more, 1), points, last.repeat(more, 1)], 1)


def shortest_knot_s(points: np.ndarray, velocity: np.ndarray, acceleration: np.ndarray) -> np.ndarray:
    """The least time between two control points (n,) [s] that keeps limits (D,) per s and per s²."""
    by_speed = (np.abs(np.diff(points, axis=1)) / velocity).max((1, 2))
    by_force = (np.abs(np.diff(points, 2, axis=1)) / acceleration).max((1, 2))
    return np.maximum(by_speed, np.sqrt(by_force))


def frames(points: np.ndarray, knot_s: np.ndarray, period_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Values (F, D) of every path once a period, to where it stands, and one past the last of each (n,)."""
    spans = points.shape[1] - 3
    count = np.ceil(spans * knot_s / period_s - 1e-9).astype(np.int64) + 1
    ends = np.cumsum(count)
    path = np.repeat(np.arange(len(points)), count)
    number = np.arange(ends[-1]) - np.repeat(ends - count, count)
    at = np.minimum(number * period_s / knot_s[path], spans)
    span = np.minimum(at.astype(np.int64), spans - 1)
    near = points[path[:, None], span[:, None] + np.arange(4)]  # (F, 4, D)
    return np.einsum("fk,fkd->fd", _basis(at - span), near), ends


def _basis(u: np.ndarray) -> np.ndarray:
    """Weights (F, 4) of the four control points around u in [0, 1] of a span."""
    return np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], 1) / 6
