"""Per-channel statistics in one pass over the data, however large: min, max, mean, std, count, quantiles.

Quantiles come from a histogram whose bin width is a power of two and whose bins lie on a fixed grid, so
when the range grows, neighbouring bins merge exactly. The result does not depend on the order of the
data, and a quantile is off by at most one bin: range / 4096.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_BINS = 8192
_FINEST_EXPONENT = -40

Statistics = dict[str, list]  # min, max, mean, std, count, q01 ... q99; as LeRobot's meta/stats.json has them


class Accumulator:
    """Streaming statistics of vectors with C channels."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._min = np.full(channels, np.inf)
        self._max = np.full(channels, -np.inf)
        self._mean = np.zeros(channels)
        self._sum_of_squares = np.zeros(channels)  # of deviations from the mean
        self._histograms = [_Histogram() for _ in range(channels)]

    def add(self, values: np.ndarray) -> None:
        """Take in finite values (n, C)."""
        values = np.asarray(values, np.float64).reshape(-1, len(self._mean))
        if not len(values):
            return
        if not np.isfinite(values).all():
            raise ValueError("statistics need finite values")
        mean = values.mean(0)
        total = self.count + len(values)
        shift = mean - self._mean
        self._sum_of_squares += ((values - mean) ** 2).sum(0) + shift**2 * self.count * len(values) / total
        self._mean += shift * len(values) / total
        self._min, self._max = np.minimum(self._min, values.min(0)), np.maximum(self._max, values.max(0))
        self.count = total
        for histogram, channel in zip(self._histograms, values.T):
            histogram.add(channel)

    def result(self) -> Statistics:
        if not self.count:
            raise ValueError("statistics of nothing: add values first")
        result: Statistics = {
            "min": self._min.tolist(),
            "max": self._max.tolist(),
            "mean": self._mean.tolist(),
            "std": np.sqrt(self._sum_of_squares / self.count).tolist(),
            "count": [self.count],
        }
        quantiles = [histogram.quantiles(list(QUANTILES.values())) for histogram in self._histograms]
        for name, values in zip(QUANTILES, np.reshape(quantiles, (-1, len(QUANTILES))).T):
            result[name] = np.clip(values, self._min, self._max).tolist()
        return result


class ImageAccumulator:
    """Exact statistics of 8-bit pictures, per colour, scaled to 0-1, shaped (3, 1, 1) as LeRobot does."""

    def __init__(self) -> None:
        self.count = 0  # pictures
        self._histogram = np.zeros((3, 256), np.int64)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ImageAccumulator:
        """Go on where `state()` left off."""
        self = cls()
        self.count, self._histogram = int(state["count"]), np.array(state["histogram"], np.int64)
        return self

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "histogram": self._histogram.tolist()}

    def add(self, images: np.ndarray) -> None:
        """Take in uint8 pictures (n, H, W, 3)."""
        self.count += len(images)
        for colour in range(3):
            self._histogram[colour] += np.bincount(images[..., colour].reshape(-1), minlength=256)

    def result(self) -> Statistics:
        if not self.count:
            raise ValueError("statistics of nothing: add pictures first")
        levels = np.arange(256) / 255
        share = self._histogram / self._histogram.sum(1, keepdims=True)
        mean = share @ levels
        present = [np.flatnonzero(row) / 255 for row in self._histogram]
        values = {
            "min": [row[0] for row in present],
            "max": [row[-1] for row in present],
            "mean": mean,
            "std": np.sqrt(np.maximum(share @ levels**2 - mean**2, 0)),
        }
        cumulated = share.cumsum(1)
        for name, q in QUANTILES.items():
            values[name] = [levels[min(int(np.searchsorted(row, q)), 255)] for row in cumulated]
        result: Statistics = {name: [[[float(v)]] for v in row] for name, row in values.items()}
        return result | {"count": [self.count]}


class _Histogram:
    """Counts on the grid of multiples of 2^exponent, coarsened so that at most `_BINS` bins are spanned."""

    def __init__(self) -> None:
        self._exponent = _FINEST_EXPONENT
        self._first = 0  # grid number of the first bin
        self._counts = np.zeros(0, np.int64)

    def add(self, values: np.ndarray) -> None:
        low, high = float(values.min()), float(values.max())
        largest = max(abs(low), abs(high))
        needed = math.frexp(largest)[1] - 60 if largest else _FINEST_EXPONENT  # grid numbers must fit int64
        self._coarsen(max(needed, self._exponent))
        while True:
            first, last = self._span(low, high)
            if last - first < _BINS:
                break
            self._coarsen(self._exponent + max(1, (last - first).bit_length() - _BINS.bit_length()))
        if not len(self._counts):
            self._first = first
        counts = np.zeros(last - first + 1, np.int64)
        offset = self._first - first
        counts[offset : offset + len(self._counts)] = self._counts
        bins = np.floor(np.ldexp(values, -self._exponent)).astype(np.int64) - first
        self._counts, self._first = counts + np.bincount(bins, minlength=len(counts)), first

    def quantiles(self, q: Sequence[float]) -> np.ndarray:
        """The values (k,) below which these shares of what was added lie."""
        cumulated = self._counts.cumsum()
        rank = np.asarray(q) * (cumulated[-1] - 1) + 0.5  # the middle of each sample's share of its bin
        i = np.searchsorted(cumulated, rank)
        before = cumulated[i] - self._counts[i]
        return np.ldexp(self._first + i + (rank - before) / self._counts[i], self._exponent)

    def _span(self, low: float, high: float) -> tuple[int, int]:
        first, last = (math.floor(math.ldexp(v, -self._exponent)) for v in (low, high))
        if len(self._counts):
            first, last = min(first, self._first), max(last, self._first + len(self._counts) - 1)
        return first, last

    def _coarsen(self, exponent: int) -> None:
        shift = exponent - self._exponent
        self._exponent = exponent
        if not shift or not len(self._counts):
            return
        bins = (np.arange(len(self._counts)) + self._first) >> shift
        self._first = int(bins[0])
        self._counts = np.bincount(bins - self._first, weights=self._counts).astype(np.int64)
