"""The wide look: what training draws, and narrow bands inside of it that are held out.

Each axis has values for training, wide, and values that training never draws, so that a gap can be laid at
its door. Neither do training's shades and backdrops meet those that the plain look holds out.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Interval = tuple[float, float]


@dataclass(frozen=True)
class Range:
    """Numbers by intervals: for training, and held out."""

    seen: tuple[Interval, ...]
    held_out: tuple[Interval, ...]

    def draw(self, rng: np.random.Generator, held_out: bool) -> float:
        """Evenly over the whole length of the intervals."""
        intervals = self.held_out if held_out else self.seen
        lengths = np.array([high - low for low, high in intervals])
        low, high = intervals[rng.choice(len(intervals), p=lengths / lengths.sum())]
        return float(rng.uniform(low, high))


@dataclass(frozen=True)
class Choice:
    """Names for training, and held out."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...]

    def draw(self, rng: np.random.Generator, held_out: bool) -> str:
        names = self.held_out if held_out else self.seen
        return names[rng.integers(len(names))]


@dataclass(frozen=True)
class Hue:
    """A named colour as HSV: hue in turns, and what saturation and value run over from tone 0 to tone 1."""

    hue: Interval
    saturation: Interval
    value: Interval


COLORS: Mapping[str, Hue] = {
    "red": Hue((-0.020, 0.020), (0.74, 1.00), (0.50, 1.00)),
    "orange": Hue((0.062, 0.088), (0.80, 1.00), (0.80, 1.00)),
    "yellow": Hue((0.130, 0.160), (0.78, 1.00), (0.75, 1.00)),
    "green": Hue((0.280, 0.400), (0.68, 1.00), (0.32, 0.85)),
    "turquoise": Hue((0.470, 0.510), (0.60, 1.00), (0.55, 0.95)),
    "blue": Hue((0.580, 0.650), (0.74, 1.00), (0.42, 1.00)),
    "purple": Hue((0.750, 0.820), (0.53, 0.90), (0.38, 0.80)),
    "pink": Hue((0.890, 0.950), (0.28, 0.55), (0.85, 1.00)),
    "brown": Hue((0.050, 0.080), (0.50, 0.80), (0.22, 0.45)),
    "black": Hue((0.000, 1.000), (0.00, 0.25), (0.02, 0.13)),
    "gray": Hue((0.000, 1.000), (0.00, 0.08), (0.35, 0.62)),
    "white": Hue((0.000, 1.000), (0.00, 0.06), (0.86, 1.00)),
}

TONE = Range(seen=((0.0, 0.32), (0.58, 1.0)), held_out=((0.38, 0.52),))
SIZE = Range(seen=((0.78, 0.88), (0.94, 1.08)), held_out=((0.895, 0.925),))  # times the kind's usual size
KINDS_HELD_OUT = ("camera", "clock", "duck", "eggplant", "fork", "pear", "plug", "teapot", "wrench")
MESHED = 0.5  # how often a kind that has them is drawn by meshes
SURFACE = Choice(seen=("", "", "grain", "mottle", "speckle", "weave"), held_out=("rings", "tiles"))

TABLE_HUE = Range(seen=((0.0, 0.38), (0.72, 1.0)), held_out=((0.41, 0.69),))
TABLE_SATURATION, TABLE_VALUE = (0.0, 0.6), (0.25, 0.95)
TABLE_SURFACE = Choice(
    seen=("", "grain", "mottle", "weave", "stripes", "tiles", "wood", "planks", "granite", "plaster"),
    held_out=("checks", "rings", "marble", "bricks"),
)
LIGHT = Range(seen=((0.24, 0.38), (0.57, 0.95)), held_out=((0.41, 0.54),))
LIGHT_TILT_RAD = Range(seen=((0.0, 0.65), (1.13, 1.22)), held_out=((0.72, 1.08),))

CAMERA_SHIFT_M = Range(seen=((0.0, 0.015), (0.024, 0.035)), held_out=((0.017, 0.022),))
CAMERA_TURN_RAD = Range(seen=((0.0, 0.020), (0.036, 0.055)), held_out=((0.024, 0.032),))
TABLE_HEIGHT_M = Range(seen=((0.0, 0.014), (0.026, 0.040)), held_out=((0.017, 0.023),))
CLUTTER = Range(seen=((0.0, 4.0),), held_out=((5.0, 7.0),))  # rounded down: how many things lie about


def draw_shade(rng: np.random.Generator, color: str, held_out: bool) -> tuple[float, float, float]:
    """One RGB shade of a named colour."""
    told, tone = COLORS[color], TONE.draw(rng, held_out)
    hue = rng.uniform(*told.hue) % 1.0
    saturation = rng.uniform(*told.saturation)
    return colorsys.hsv_to_rgb(hue, saturation, told.value[0] + tone * (told.value[1] - told.value[0]))


def draw_offset(rng: np.random.Generator, length: float) -> np.ndarray:
    """A vector (3,) of this length in any direction."""
    direction = rng.standard_normal(3)
    return length * direction / np.linalg.norm(direction)
