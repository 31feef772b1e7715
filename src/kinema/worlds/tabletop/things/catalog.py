"""All kinds of things, by their names in the grammar's lexicon."""

from __future__ import annotations

from collections.abc import Mapping

from kinema.worlds.tabletop.things.food import FOOD
from kinema.worlds.tabletop.things.household import HOUSEHOLD
from kinema.worlds.tabletop.things.metaworld import DRAWINGS
from kinema.worlds.tabletop.things.shape import Kind
from kinema.worlds.tabletop.things.sports import SPORTS
from kinema.worlds.tabletop.things.tools import TOOLS

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (*FOOD, *TOOLS, *HOUSEHOLD, *SPORTS)}
MOST_PARTS = max(len(parts) for parts in (*(kind.parts for kind in KINDS.values()), *DRAWINGS.values()))
