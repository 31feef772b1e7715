"""What differs between episodes: the seen distribution and five held-out axes.

Every axis changes one thing and leaves the rest as seen, so a gap can be laid at its door:

- color: the same five colour names, but shades from hue, saturation and value bands that training never
  draws, and colours without a name in training (orange, pink, white, black) on the things not named;
- instance: shapes and sizes that training never shows (cylinders, hexagonal prisms, longer and taller
  boxes; square trays and smaller plates for containers);
- position: the things named in the sentence lie in a ring around the training area, 1.5 to 4 cm wide;
- background: table and wall colours, a chequered table and light directions outside the training bands;
- instruction: templates that training never uses.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from kinema.schema import KinemaError

AXES = ("color", "instance", "position", "background", "instruction")


@dataclass(frozen=True, kw_only=True)
class Variation:
    """Which axes are held out. All False is the seen distribution."""

    color: bool = False
    instance: bool = False
    position: bool = False
    background: bool = False
    instruction: bool = False

    @classmethod
    def named(cls, name: str) -> Variation:
        """`seen`, one axis, axes joined by "+", or `all`. Raises KinemaError naming the choices."""
        if name == "seen":
            return cls()
        axes = AXES if name == "all" else tuple(name.split("+"))
        unknown = [axis for axis in axes if axis not in AXES]
        if unknown:
            raise KinemaError(f"unknown variation {unknown[0]!r}; choices: seen, all, {', '.join(AXES)}")
        return cls(**dict.fromkeys(axes, True))

    @property
    def name(self) -> str:
        axes = [axis for axis in AXES if getattr(self, axis)]
        if not axes:
            return "seen"
        return "all" if len(axes) == len(AXES) else "+".join(axes)


SEEN = Variation()

# Hue (turns), saturation and value at the middle of each colour's training band.
COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.00, 0.85, 0.85),
    "yellow": (0.145, 0.90, 0.95),
    "green": (0.36, 0.80, 0.65),
    "blue": (0.61, 0.85, 0.85),
    "purple": (0.79, 0.65, 0.70),
}
UNNAMED_COLORS: dict[str, tuple[float, float, float]] = {
    "orange": (0.07, 0.90, 0.95),
    "pink": (0.92, 0.40, 0.98),
    "white": (0.00, 0.00, 0.95),
    "black": (0.00, 0.00, 0.12),
}
_SEEN_JITTER = (0.012, 0.08, 0.08)  # half widths of the training bands
# The held-out bands touch neither the training bands nor another colour's: hue further out, paler, darker.
_HELD_OUT_HUE = (0.016, 0.026)
_HELD_OUT_SATURATION = (-0.28, -0.14)
_HELD_OUT_VALUE = (-0.30, -0.14)


def draw_shade(rng: np.random.Generator, color: str, held_out: bool) -> tuple[float, float, float]:
    """One RGB shade of a named colour, from its training band or its held-out band."""
    hue, saturation, value = COLORS.get(color) or UNNAMED_COLORS[color]
    if held_out and color in COLORS:
        hue += rng.choice([-1.0, 1.0]) * rng.uniform(*_HELD_OUT_HUE)
        saturation += rng.uniform(*_HELD_OUT_SATURATION)
        value += rng.uniform(*_HELD_OUT_VALUE)
    else:
        hue, saturation, value = (
            middle + rng.uniform(-half, half) for middle, half in zip((hue, saturation, value), _SEEN_JITTER)
        )
    return colorsys.hsv_to_rgb(hue % 1.0, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1)))


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """Table, wall and light of one episode. RGB in [0, 1]; light direction points from the light."""

    table_rgb: tuple[float, float, float]
    wall_rgb: tuple[float, float, float]
    checkered: bool
    light: float
    light_direction: tuple[float, float, float]


def draw_backdrop(rng: np.random.Generator, held_out: bool) -> Backdrop:
    """Training: dull warm greys and woods under light from above. Held out: cool, dim, slanted."""
    azimuth = rng.uniform(0, 2 * np.pi)
    if held_out:
        hue, saturation, value = rng.uniform(0.40, 0.70), rng.uniform(0.20, 0.38), rng.uniform(0.35, 0.60)
        table = colorsys.hsv_to_rgb(hue, saturation, value)
        wall = colorsys.hsv_to_rgb(rng.uniform(0, 1), rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.9))
        tilt, light, checkered = rng.uniform(0.7, 1.1), rng.uniform(0.40, 0.55), bool(rng.random() < 0.5)
    else:
        table = colorsys.hsv_to_rgb(rng.uniform(0.06, 0.12), rng.uniform(0.05, 0.35), rng.uniform(0.45, 0.75))
        wall = colorsys.hsv_to_rgb(rng.uniform(0, 1), rng.uniform(0.0, 0.12), rng.uniform(0.55, 0.85))
        tilt, light, checkered = rng.uniform(0.0, 0.5), rng.uniform(0.60, 0.80), False
    direction = (
        float(np.sin(tilt) * np.cos(azimuth)),
        float(np.sin(tilt) * np.sin(azimuth)),
        float(-np.cos(tilt)),
    )
    return Backdrop(
        table_rgb=table, wall_rgb=wall, checkered=checkered, light=float(light), light_direction=direction
    )
