"""How well one list of numbers foretells another: Pearson's and Spearman's coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np

_MOST_EXACT = 8  # lists longer than this have too many orders to go through


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

    Counted over all orders; NaN for lists of more than 8, of which there are too many.
    """
    found = spearman(first, second)
    if len(second) > _MOST_EXACT or math.isnan(found):
        return math.nan
    places, other = ranks(first), ranks(second)
    orders = np.array(list(permutations(other)))
    scores = (orders - orders.mean(1, keepdims=True)) @ (places - places.mean())
    least = (other - other.mean()) @ (places - places.mean())
    return float((scores >= least - 1e-9).mean())
