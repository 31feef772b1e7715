"""Which window every sample of a run is: a function of the seed and the sample's number, and of nothing else.

Samples are numbered through the whole run, over all ranks and workers. Every stretch of samples holds the
same number of each source, in a new order; each source shows every window once before any of them again, in
an order that a keyed permutation gives without storing it.

Axes: n samples, S sources.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

_SHORTEST, _LONGEST = 2**12, 2**20  # of a stretch, in samples
_ROUNDS = 6
_U64 = np.uint64


class Order:
    """`order[samples (n,)]` gives each sample's source and window, int64 (n,) each."""

    def __init__(self, weights: np.ndarray, windows: np.ndarray, seed: int) -> None:
        """weights (S,): of the sources' shares, in any unit; windows int64 (S,): how many each has."""
        self._counts = _counts(np.asarray(weights, np.float64))
        self._windows, self._seed = np.asarray(windows, np.int64), seed
        self._length = int(self._counts.sum())
        self._stretch = lru_cache(maxsize=2)(self._made_stretch)

    def __getitem__(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        source, visit = np.empty((2, len(samples)), np.int64)
        stretches = samples // self._length
        for stretch in np.unique(stretches).tolist():
            mine = stretches == stretch
            of_slot, number = self._stretch(stretch)
            slot = samples[mine] % self._length
            source[mine], visit[mine] = of_slot[slot], number[slot]
        epoch, place = np.divmod(visit, self._windows[source])
        return source, permuted(place, self._windows[source], hashed(self._seed, 1, source, epoch))

    def drawn(self, samples: int) -> np.ndarray:
        """int64 (S,): how many of the first so many samples are each source's."""
        whole, rest = divmod(samples, self._length)
        of_slot, _ = self._stretch(whole)
        return whole * self._counts + np.bincount(of_slot[:rest], minlength=len(self._counts))

    def __getstate__(self) -> dict[str, object]:
        return {"_counts": self._counts, "_windows": self._windows, "_seed": self._seed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_counts"], state["_windows"], state["_seed"])  # type: ignore[misc]

    def _made_stretch(self, stretch: int) -> tuple[np.ndarray, np.ndarray]:
        """For each sample of a stretch its source, and how many samples the source has had before it."""
        of_slot = np.repeat(np.arange(len(self._counts)), self._counts)
        of_slot = of_slot[np.argsort(hashed(self._seed, 2, stretch, np.arange(self._length)), kind="stable")]
        number = np.empty(self._length, np.int64)
        number[np.argsort(of_slot, kind="stable")] = np.concatenate(
            [stretch * count + np.arange(count) for count in self._counts.tolist()]
        )
        return of_slot, number


def _counts(weights: np.ndarray) -> np.ndarray:
    """int64 (S,): how many samples of each stretch are a source's; at least one, the rarest about 16."""
    shares = weights / weights.sum()
    length = min(max(_SHORTEST, 2 ** int(np.ceil(np.log2(16 / shares.min())))), _LONGEST)
    counts = np.maximum(np.floor(shares * length).astype(np.int64), 1)
    short = length - int(counts.sum())  # to those that rounding took most from
    if short > 0:
        counts[np.argsort(counts - shares * length, kind="stable")[:short]] += 1
    return counts


def hashed(*values: int | np.ndarray) -> np.ndarray:
    """uint64: well-mixed bits of whole numbers that broadcast together (splitmix64 over each in turn)."""
    state = np.zeros(np.broadcast_shapes(*(np.shape(v) for v in values)), _U64)
    with np.errstate(over="ignore"):
        for value in values:
            state = _mixed(state + np.asarray(value).astype(_U64) + _U64(0x9E3779B97F4A7C15))
    return state


def uniform(*values: int | np.ndarray) -> np.ndarray:
    """float64 in [0, 1) from the same."""
    return (hashed(*values) >> _U64(11)) * 2.0**-53


def permuted(place: np.ndarray, size: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Where a keyed permutation of 0 … size - 1 puts `place` (n,), each with a size and a key of its own.

    A Feistel network permutes the next power of four; what falls outside is sent through it again.
    """
    half = np.maximum(-(-np.ceil(np.log2(np.maximum(size, 2))).astype(np.int64) // 2), 1).astype(_U64)
    mask = (_U64(1) << half) - _U64(1)
    found, out = np.asarray(place).astype(_U64), np.ones(len(place), bool)
    limit = np.asarray(size).astype(_U64)
    keys = [hashed(key, number) for number in range(_ROUNDS)]
    while out.any():
        left, right = found[out] >> half[out], found[out] & mask[out]
        for of_round in keys:
            left, right = right, left ^ (_mixed(right + of_round[out]) & mask[out])
        found[out] = (left << half[out]) | right
        out[out] = found[out] >= limit[out]
    return found.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    return x ^ (x >> _U64(31))
