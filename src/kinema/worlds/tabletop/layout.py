"""Where things lie: rejection sampling of places that keep their distance, inside the area or around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kinema.worlds.tabletop.scene import WorkArea

RING_M = (0.015, 0.04)  # the held-out ring around the training area


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What one thing needs: its keep-out radius [m], and the part of the area its centre may take.

    u, v: ranges in the area's relative coordinates; in_ring: the centre lies outside the area.
    """

    radius_m: float
    u: tuple[float, float] = (-1.0, 1.0)
    v: tuple[float, float] = (-1.0, 1.0)
    in_ring: bool = False


def scatter(rng: np.random.Generator, area: WorkArea, footprints: Sequence[Footprint]) -> list[np.ndarray]:
    """Centres (2,) for all footprints, no two nearer than the sum of their radii.

    In an area of less than 0.25 m the things lie a little closer together, and closer still, step by step,
    where a seed finds no room: there is a layout for every seed.
    """
    spacing, tries = 1.0 if min(area.half) > 0.1 else 0.92, 500
    while True:
        closer = [replace(footprint, radius_m=spacing * footprint.radius_m) for footprint in footprints]
        for _ in range(tries):
            if (places := _lay_out(rng, area, closer)) is not None:
                return places
        spacing, tries = 0.95 * spacing, 20


def _lay_out(
    rng: np.random.Generator, area: WorkArea, footprints: Sequence[Footprint]
) -> list[np.ndarray] | None:
    places: list[np.ndarray] = []
    for footprint in footprints:
        place = _try(rng, area, footprint, places, footprints)
        if place is None:
            return None
        places.append(place)
    return places


def _try(
    rng: np.random.Generator,
    area: WorkArea,
    footprint: Footprint,
    places: list[np.ndarray],
    footprints: Sequence[Footprint],
) -> np.ndarray | None:
    for _ in range(40):
        place = _draw(rng, area, footprint)
        if all(
            np.linalg.norm(place - other) >= footprint.radius_m + footprints[i].radius_m
            for i, other in enumerate(places)
        ):
            return place
    return None


def _draw(rng: np.random.Generator, area: WorkArea, footprint: Footprint) -> np.ndarray:
    uv = np.array([rng.uniform(*footprint.u), rng.uniform(*footprint.v)])
    if not footprint.in_ring:
        return area.at(*uv)
    # Push one coordinate out to the ring, at the side that the footprint's own range allows.
    sides = [(axis, s) for axis in (0, 1) for s in (-1.0, 1.0) if s in ((footprint.u, footprint.v)[axis])]
    axis, sign = sides[rng.integers(len(sides))] if sides else (int(rng.integers(2)), 1.0)
    uv[axis] = sign * (1.0 + rng.uniform(*RING_M) / area.half[axis])
    return area.at(*uv)
