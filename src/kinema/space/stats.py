"""Normalisation statistics: per channel, the two values that are mapped to -1 and 1.

For most channels these are the 1 % and 99 % quantiles. For what is rare and decisive (grippers, hands,
buttons, whatever is counted as a fraction or normalised) they are the ends of the card's range: an order to
close that stands in one frame of two hundred would otherwise be outside them, and learnt as "stay open".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.card.card import Channel

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

    @classmethod
    def of_channels(cls, channels: Sequence[Channel], values: np.ndarray) -> ChannelStats:
        """What is measured of a body's values (N, C), and its card's range where rare values decide."""
        made = cls.measure(tuple(channel.name for channel in channels), values)
        low, high = np.array([c.range for c in channels], np.float64).reshape(-1, 2).T
        whole = np.array([is_decisive(channel) for channel in channels], bool)
        return cls(
            names=made.names,
            q01=np.where(whole, np.minimum(low, made.q01), made.q01),
            q99=np.where(whole, np.maximum(high, made.q99), made.q99),
        )

    def beyond(self, values: np.ndarray) -> np.ndarray:
        """How far values (..., C) lie outside, in half widths; 0 inside. These are clipped."""
        return np.maximum(np.abs(values - self.center) / self.half_width - 1.0, 0.0)

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


def is_decisive(channel: Channel) -> bool:
    """Whether rare values of a channel are the point of it: a gripper, a hand, a button, a pedal."""
    part = channel.slot.split(".")[1]
    absolute = channel.reference == "absolute"
    return absolute and (part in ("gripper", "hand") or channel.unit in ("fraction", "normalised"))
