"""What differs between episodes: a look, and the axes on which it is held out.

The plain look has five axes. Each changes one thing and leaves the rest as seen, so a gap can be laid at
its door:

- color: the same five colour names, but shades from hue, saturation and value bands that training never
  draws, and colours without a name in training (orange, pink, white, black) on the things not named;
- instance: shapes and sizes that training never shows (cylinders, hexagonal prisms, longer and taller
  boxes; square trays and smaller plates for containers);
- position: the things named in the sentence lie in a ring around the training area, 1.5 to 4 cm wide;
- background: table and wall colours, a chequered table and light directions outside the training bands;
- instruction: templates that training never uses.

The wide look (`worlds/wide.py`) draws all of this from far more, with the same axes and three more: camera
(where the fixed ones stand), clutter (how many other things lie about) and height (of the table).
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from kinema.schema import KinemaError
from kinema.worlds import wide

AXES = ("color", "instance", "position", "background", "instruction")
WIDE_AXES = (*AXES, "camera", "clutter", "height")
LOOKS = {"plain": AXES, "wide": WIDE_AXES}


@dataclass(frozen=True, kw_only=True)
class Variation:
    """The look, and which axes are held out. All False is the seen distribution of that look."""

    look: str = "plain"
    color: bool = False
    instance: bool = False
    position: bool = False
    background: bool = False
    instruction: bool = False
    camera: bool = False
    clutter: bool = False
    height: bool = False

    @classmethod
    def named(cls, name: str) -> Variation:
        """`seen`, an axis, axes joined by "+", or `all`; `wide`, or `wide+` and any of these.

        Raises KinemaError naming the choices.
        """
        first, _, rest = name.partition("+")
        look, axes = ("wide", rest) if first == "wide" else ("plain", name)
        if axes in ("", "seen") and name:
            return cls(look=look)
        named = LOOKS[look] if axes == "all" else tuple(axes.split("+"))
        unknown = [axis for axis in named if axis not in LOOKS[look]]
        if unknown:
            raise KinemaError(
                f"unknown variation {unknown[0]!r} of the {look} look; choices: seen, all, "
                f"{', '.join(LOOKS[look])}; and wide, or wide+ one of {', '.join(WIDE_AXES)}"
            )
        return cls(look=look, **dict.fromkeys(named, True))  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        axes = [axis for axis in LOOKS[self.look] if getattr(self, axis)]
        held_out = "all" if len(axes) == len(LOOKS[self.look]) else "+".join(axes)
        if self.look == "plain":
            return held_out or "seen"
        return "+".join(part for part in (self.look, held_out) if part)

    @property
    def is_wide(self) -> bool:
        return self.look == "wide"


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
    surface: str = ""  # the table's texture, of the wide look


def draw_wide_backdrop(rng: np.random.Generator, held_out: bool) -> Backdrop:
    table = (
        wide.TABLE_HUE.draw(rng, held_out),
        *(rng.uniform(*r) for r in (wide.TABLE_SATURATION, wide.TABLE_VALUE)),
    )
    wall = rng.uniform(0, 1), rng.uniform(0.0, 0.6), rng.uniform(0.2, 0.95)
    return Backdrop(
        table_rgb=colorsys.hsv_to_rgb(*table),
        wall_rgb=colorsys.hsv_to_rgb(*wall),
        checkered=False,
        light=wide.LIGHT.draw(rng, held_out),
        light_direction=_slanted(wide.LIGHT_TILT_RAD.draw(rng, held_out), rng.uniform(0, 2 * np.pi)),
        surface=wide.TABLE_SURFACE.draw(rng, held_out),
    )


def _slanted(tilt_rad: float, azimuth_rad: float) -> tuple[float, float, float]:
    across = np.sin(tilt_rad)
    return (
        float(across * np.cos(azimuth_rad)),
        float(across * np.sin(azimuth_rad)),
        float(-np.cos(tilt_rad)),
    )


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
    return Backdrop(
        table_rgb=table,
        wall_rgb=wall,
        checkered=checkered,
        light=float(light),
        light_direction=_slanted(tilt, azimuth),
    )
