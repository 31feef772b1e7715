"""Which thing an episode has: kind, colour, size and surface, from training's values or the held-out ones."""

from __future__ import annotations

import numpy as np

from kinema.worlds import wide
from kinema.worlds.tabletop.things.catalog import KINDS
from kinema.worlds.tabletop.things.item import Look
from kinema.worlds.variation import Variation

GRASPED_HALF_M = 0.025  # the widest that every gripper takes


def kinds(held_out: bool) -> tuple[str, ...]:
    return tuple(name for name in KINDS if (name in wide.KINDS_HELD_OUT) is held_out)


def colors_of(kind: str) -> tuple[str, ...]:
    return KINDS[kind].colors or tuple(wide.COLORS)


def draw_kind(rng: np.random.Generator, variation: Variation) -> str:
    names = kinds(variation.instance)
    return names[rng.integers(len(names))]


def draw_look(
    rng: np.random.Generator, variation: Variation, kind: str = "", color: str = "", scale: float = 1.0
) -> Look:
    """kind, color: given, or drawn when empty; scale: times the drawn size."""
    kind = kind or draw_kind(rng, variation)
    colors = colors_of(kind)
    color = color or colors[rng.integers(len(colors))]
    size = scale * wide.SIZE.draw(rng, variation.instance)
    return Look(
        kind=KINDS[kind],
        color=color,
        rgb=wide.draw_shade(rng, color, variation.color),
        scale=min(size, GRASPED_HALF_M / KINDS[kind].half_m[1]),
        surface=wide.SURFACE.draw(rng, variation.background),
        meshed=bool(rng.random() < wide.MESHED),
    )
