"""Where a dream's sentence points: the named thing and its place, found in the pictures by a detector.

A policy learns where to look from such labels, and nobody knows the true state of an imagined world.
"""

from __future__ import annotations

import numpy as np

from kinema.bench.metrics.tracks import SEEN_FROM, Tracks
from kinema.worlds.tabletop.families import family_named
from kinema.worlds.tabletop.parse import parse_instruction


def named_things(instruction: str) -> tuple[str, str] | None:
    """The detector's words for the thing that is moved and for where it goes; None where no two are named."""
    request = parse_instruction(instruction)
    thing, place = family_named(request.family).named(request.thing, request.place, request.kind)
    if request.family == "button":
        return thing, thing
    return (thing, place) if request.thing and request.place else None


def point_labels(tracks: Tracks, instruction: str) -> np.ndarray | None:
    """float32 (F, V, 2, 3): u, v in [0, 1] and whether it is seen; None where nothing can be pointed at."""
    names = named_things(instruction)
    if names is None or not set(names) <= set(tracks.things):
        return None
    found = tracks.points[:, :, [tracks.things.index(name) for name in names]]
    seen = found[..., 2:] >= SEEN_FROM
    inside = np.clip(found[..., :2], 0.0, 1.0)
    return np.where(seen, np.concatenate([inside, np.ones_like(seen)], -1), 0.0).astype(np.float32)
