"""How well one list of numbers foretells another: Pearson's and Spearman's coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np

_MOST_EXACT = 8  # lists longer than this have too many orders to go through
_DRAWN = 40_000


def pearson(first: Sequence[float], second: Sequence[float]) -> float:
    """Linear correlation in [-1, 1]; NaN where a list does not vary. Raises ValueError for unfit lists."""
    x, y = (np.asarray(values, np.float64) for values in (first, second))
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(
            f"two lists of the same length of at least 2 are needed; got {x.shape} and {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("correlation of values that are not finite")
    x, y = x - x.mean(), y - y.mean()
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return float(np.clip(x @ y / spread, -1.0, 1.0)) if spread > 0 else math.nan


def ranks(values: Sequence[float]) -> np.ndarray:
    """Places from 1 on, equal values sharing the mean of theirs, float64 (N,)."""
    _, group, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[group]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation in [-1, 1], Pearson's of the ranks; NaN where a list does not vary."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("correlation of values that are not finite")
    return pearson(ranks(first), ranks(second))  # type: ignore[arg-type]


def chance_of(first: Sequence[float], second: Sequence[float]) -> float:
    """How often a random order of the second list would correlate at least as well by rank.

    Counted over all orders, or over random ones where there are too many; NaN where a list is constant.
    """
    if math.isnan(spearman(first, second)):
        return math.nan
    places, other = ranks(first), ranks(second)
    orders = _orders(other)
    scores = (orders - orders.mean(1, keepdims=True)) @ (places - places.mean())
    least = (other - other.mean()) @ (places - places.mean())
    return float((scores >= least - 1e-9).mean())


def _orders(values: np.ndarray) -> np.ndarray:
    """All orders of the values, or as many random ones (always the same), float64 (M, N)."""
    if len(values) <= _MOST_EXACT:
        return np.array(list(permutations(values)))
    return np.random.default_rng(0).permuted(np.tile(values, (_DRAWN, 1)), axis=1)
