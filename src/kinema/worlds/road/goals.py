"""What the car is told to do, in sentences, and when it is done, in metres."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from kinema.schema import KinemaError

GOALS = (
    "turn_left", "turn_right", "go_straight", "stop", "change_left", "change_right", "follow",
)  # fmt: skip
SEEN: dict[str, tuple[str, ...]] = {
    "turn_left": ("turn left at the crossing", "take a left at the crossing", "go left at the crossing"),
    "turn_right": ("turn right at the crossing", "take a right at the crossing", "go right at the crossing"),
    "go_straight": ("go straight over the crossing", "drive straight on at the crossing"),
    "stop": ("stop at the crossing", "stop before the crossing", "halt at the stop line"),
    "change_left": ("change to the left lane", "move over to the left lane"),
    "change_right": ("change to the right lane", "move over to the right lane"),
    "follow": ("follow the {color} car", "drive behind the {color} car", "stay behind the {color} car"),
}
HELD_OUT: dict[str, tuple[str, ...]] = {
    "turn_left": ("at the crossing please make a left turn",),
    "turn_right": ("at the crossing please make a right turn",),
    "go_straight": ("please keep straight on over the crossing",),
    "stop": ("please come to a stop at the crossing",),
    "change_left": ("please get into the left lane",),
    "change_right": ("please get into the right lane",),
    "follow": ("please go wherever the {color} car goes",),
}
_FOLLOW = re.compile(r"\b(?:the|wherever the) ([a-z]+) car\b")


@dataclass(frozen=True, kw_only=True)
class Goal:
    name: str
    text: str
    color: str = ""  # of the car to follow

    def __post_init__(self) -> None:
        if self.name not in GOALS:
            raise KinemaError(f"unknown goal {self.name!r}; choices: {', '.join(GOALS)}")

    @property
    def thing(self) -> str:
        return f"{self.color} car" if self.color else ""


def phrase(rng: np.random.Generator, name: str, *, color: str = "", held_out: bool = False) -> Goal:
    """A goal with one of its sentences."""
    templates = (HELD_OUT if held_out else SEEN)[name]
    text = templates[rng.integers(len(templates))].format(color=color)
    return Goal(name=name, text=text, color=color)


def read_goal(text: str) -> Goal | None:
    """The goal of a sentence, or None when it is none of ours."""
    for templates in (SEEN, HELD_OUT):
        for name, sentences in templates.items():
            for sentence in sentences:
                found = re.fullmatch(
                    sentence.replace("{color}", "(?P<color>[a-z]+)"), text.strip().rstrip(".")
                )
                if found:
                    return Goal(name=name, text=text, color=found.groupdict().get("color") or "")
    return None
