"""All kinds of things, by their names in the grammar's lexicon."""

from __future__ import annotations

from collections.abc import Mapping

from kinema.worlds.tabletop.things.food import FOOD
from kinema.worlds.tabletop.things.household import HOUSEHOLD
from kinema.worlds.tabletop.things.shape import Kind
from kinema.worlds.tabletop.things.tools import TOOLS

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (*FOOD, *TOOLS, *HOUSEHOLD)}
MOST_PARTS = max(len(kind.parts) for kind in KINDS.values())
