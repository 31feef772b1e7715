"""What may be said next towards a goal: the goal itself, other words for it, and one thing at a time."""

from __future__ import annotations

from collections.abc import Sequence

from kinema.worlds.tabletop.families import family_named
from kinema.worlds.tabletop.parse import parse_instruction


def sub_instructions(goal: str, block_colors: Sequence[str] = ()) -> tuple[str, ...]:
    """Candidates, the goal itself first. block_colors: of the blocks in the scene, for tidying up.

    Raises KinemaError when the goal is not understood.
    """
    request = parse_instruction(goal)
    return tuple(dict.fromkeys([goal, *family_named(request.family).ways_to_say(request, block_colors)]))
