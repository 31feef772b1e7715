"""Room for many things: `layout.scatter` for a full table, where most draws of all at once would fail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinema.worlds.tabletop.layout import Footprint
from kinema.worlds.tabletop.scene import WorkArea

_CANDIDATES = 64
_CLOSER = 0.997  # after a draw that found no room for one of them


def lay_out(rng: np.random.Generator, area: WorkArea, footprints: Sequence[Footprint]) -> list[np.ndarray]:
    """Centres (2,) for all footprints, in their order, no two nearer than the sum of their radii.

    They lie a little closer after each draw that finds no room, so there is a layout for every seed.
    """
    spacing = 1.0
    while True:
        places = np.empty((0, 2))  # along u and v [m]
        for i, footprint in enumerate(footprints):
            low, high = np.array([footprint.u, footprint.v]).T
            drawn = rng.uniform(low, high, (_CANDIDATES, 2)) * area.half
            apart_m = np.linalg.norm(drawn[:, None] - places, axis=-1)  # (candidates, i)
            least_m = spacing * np.array([footprint.radius_m + other.radius_m for other in footprints[:i]])
            fits = np.flatnonzero((apart_m >= least_m).all(1))
            if not len(fits):
                break
            places = np.vstack([places, drawn[fits[0]]])
        else:
            return [area.at(*(place / area.half)) for place in places]
        spacing *= _CLOSER
