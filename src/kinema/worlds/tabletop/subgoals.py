"""What may be said next towards a goal: the goal itself, other words for it, and one thing at a time."""

from __future__ import annotations

from collections.abc import Sequence

from kinema.worlds.tabletop.language import SEEN_TEMPLATES
from kinema.worlds.tabletop.parse import parse_instruction


def sub_instructions(goal: str, block_colors: Sequence[str] = ()) -> tuple[str, ...]:
    """Candidates, the goal itself first. block_colors: of the blocks in the scene, for tidying up.

    Raises KinemaError when the goal is not understood.
    """
    request = parse_instruction(goal)
    found = [goal]
    if request.family == "tidy" and not request.thing:
        found += [f"put the {color} block in the box" for color in block_colors]
        found += SEEN_TEMPLATES["tidy"]
    else:
        key = f"{request.family}/{request.kind}" if request.kind else request.family
        noun = "button" if request.family == "button" else "block"
        place = {"pick_place": request.kind, "push": "area", "stack": "block"}.get(request.family, "")
        found += [
            template.format(thing=f"{request.thing} {noun}", place=f"{request.place} {place}")
            for template in SEEN_TEMPLATES[key]
        ]
    return tuple(dict.fromkeys(found))
