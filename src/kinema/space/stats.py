"""Normalisation statistics: per channel, the 1 % and 99 % quantiles that are mapped to -1 and 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A channel that hardly moves would blow noise up to full scale; it keeps at least this width.
_MIN_WIDTH = 1e-3


@dataclass(frozen=True, kw_only=True)
class ChannelStats:
    """q01 and q99, float64 (C,), one pair per channel, in the order of `names`."""

    names: tuple[str, ...]
    q01: np.ndarray
    q99: np.ndarray

    def __post_init__(self) -> None:
        for key in ("q01", "q99"):
            value = getattr(self, key)
            if value.shape != (len(self.names),):
                raise ValueError(f"statistics {key}: shape {value.shape}, but channels are {self.names}")
            if not np.isfinite(value).all():
                bad = [n for n, v in zip(self.names, value) if not np.isfinite(v)]
                raise ValueError(f"statistics {key}: channels {bad} are not finite")
        if (self.q99 < self.q01).any():
            bad = [n for n, lo, hi in zip(self.names, self.q01, self.q99) if hi < lo]
            raise ValueError(f"statistics: q99 is below q01 for channels {bad}")

    @classmethod
    def measure(cls, names: tuple[str, ...], values: np.ndarray) -> ChannelStats:
        """Exact quantiles of values (N, C). NaN marks a missing value and is left out."""
        if values.ndim != 2 or values.shape[1] != len(names) or not len(values):
            raise ValueError(f"values must be (N >= 1, {len(names)}), got {values.shape}")
        q01, q99 = np.nanquantile(values.astype(np.float64), [0.01, 0.99], axis=0)
        return cls(names=names, q01=q01, q99=q99)

    @property
    def center(self) -> np.ndarray:
        return (self.q99 + self.q01) / 2

    @property
    def half_width(self) -> np.ndarray:
        return np.maximum((self.q99 - self.q01) / 2, _MIN_WIDTH)

    def to_json(self) -> dict[str, list]:
        return {"names": list(self.names), "q01": self.q01.tolist(), "q99": self.q99.tolist()}

    @classmethod
    def from_json(cls, data: dict[str, list]) -> ChannelStats:
        return cls(names=tuple(data["names"]), q01=np.array(data["q01"]), q99=np.array(data["q99"]))
