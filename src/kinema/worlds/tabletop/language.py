"""The sentences: per family, training templates and held-out paraphrases.

`{thing}` and `{place}` are filled with a colour and a noun, such as "red block" and "blue bowl".
"""

from __future__ import annotations

import numpy as np

SEEN_TEMPLATES: dict[str, tuple[str, ...]] = {
    "pick_place/bowl": (
        "put the {thing} in the {place}",
        "place the {thing} in the {place}",
        "pick up the {thing} and put it in the {place}",
        "move the {thing} into the {place}",
    ),
    "pick_place/plate": (
        "put the {thing} on the {place}",
        "place the {thing} on the {place}",
        "pick up the {thing} and put it on the {place}",
        "move the {thing} onto the {place}",
    ),
    "stack": (
        "stack the {thing} on the {place}",
        "put the {thing} on top of the {place}",
        "place the {thing} on the {place}",
    ),
    "push": (
        "push the {thing} to the {place}",
        "slide the {thing} to the {place}",
        "push the {thing} onto the {place}",
    ),
    "drawer/open": ("open the drawer", "pull the drawer open", "pull out the drawer"),
    "drawer/close": ("close the drawer", "push the drawer shut", "shut the drawer"),
    "button": ("press the {thing}", "push the {thing}", "hit the {thing}"),
    "lift_two_arms": (
        "lift the tray with both arms",
        "pick up the tray with both hands",
        "raise the tray with both arms",
    ),
    "tidy": ("tidy up the table", "put all the blocks in the box", "clean up the table"),
}

HELD_OUT_TEMPLATES: dict[str, tuple[str, ...]] = {
    "pick_place/bowl": (
        "the {thing} goes in the {place}",
        "please drop the {thing} into the {place}",
        "take the {thing} and place it inside the {place}",
    ),
    "pick_place/plate": (
        "the {thing} goes on the {place}",
        "please set the {thing} on the {place}",
        "take the {thing} and place it onto the {place}",
    ),
    "stack": ("pile the {thing} onto the {place}", "the {thing} goes on top of the {place}"),
    "push": ("move the {thing} to the {place} by pushing it", "shove the {thing} onto the {place}"),
    "drawer/open": ("please open that drawer", "slide the drawer open"),
    "drawer/close": ("please close that drawer", "slide the drawer shut"),
    "button": ("please press down the {thing}", "click the {thing}"),
    "lift_two_arms": ("use both arms to lift the tray", "hold the tray with both arms and lift it up"),
    "tidy": ("please tidy the table up", "collect all the blocks in the box"),
}


def phrase(rng: np.random.Generator, key: str, held_out: bool, thing: str = "", place: str = "") -> str:
    """One sentence of a family, from its training or its held-out templates."""
    templates = (HELD_OUT_TEMPLATES if held_out else SEEN_TEMPLATES)[key]
    return templates[rng.integers(len(templates))].format(thing=thing, place=place)
