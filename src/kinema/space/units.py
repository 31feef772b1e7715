"""Units that robots and data sets have, and what they are in the units of cards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, pi


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit that somebody's number may have: number * scale is in `of`, a unit of cards."""

    name: str
    of: str
    scale: float

    def __post_init__(self) -> None:
        if not isfinite(self.scale) or self.scale == 0:
            raise ValueError(f"unit {self.name!r}: scale must be finite and not 0, got {self.scale}")


UNITS: Mapping[str, Unit] = {
    name: Unit(name=name, of=of, scale=scale)
    for name, of, scale in (
        ("rad", "rad", 1.0),
        ("deg", "rad", pi / 180),
        ("m", "m", 1.0),
        ("cm", "m", 0.01),
        ("mm", "m", 0.001),
        ("rad/s", "rad/s", 1.0),
        ("deg/s", "rad/s", pi / 180),
        ("m/s", "m/s", 1.0),
        ("fraction", "fraction", 1.0),
        ("percent", "fraction", 0.01),
        ("normalised", "normalised", 1.0),
        ("N m", "N m", 1.0),
        ("N", "N", 1.0),
    )
}
