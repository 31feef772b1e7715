"""A long sentence in steps that the policy knows, by a grammar; and what such steps mean for a plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kinema.schema import KinemaError
from kinema.worlds.tabletop.families import family_named
from kinema.worlds.tabletop.long.tasks import LongTask, step_request, task_of
from kinema.worlds.variation import COLORS

EXAMPLES = (
    "tidy up the table",
    "put all the blocks in the blue bowl",
    "stack the red, the green and the blue block",
    "first press the red button, then put the green block on the yellow plate, finally press the red button",
)
MOST_CHARACTERS = 400
_VERBS = "put|place|stack|press|push|hit|pick|move|tidy|clean|pile"
_BETWEEN = re.compile(
    r"\s*[;.]\s*|,?\s*(?:\band\s+)?\b(?:first|then|next|after that|afterwards|finally|lastly|at last)\b,?\s*"
)
_AND = re.compile(rf",?\s+and\s+(?=(?:{_VERBS})\b)|,\s*(?=(?:{_VERBS})\b)")
_ALL = re.compile(r"\ball (?:of )?(?:the )?(?:blocks|cubes|bricks)\b")
_TIDY = re.compile(r"\b(?:tidy|clean)\b")
_INTO = re.compile(r"\b(in|into|inside|on|onto)\b(?: top of)? the (.+)$")
_PILE = re.compile(r"^(?:stack|pile)(?: up)? ((?:(?!\bon).)*?) (?:block|blocks|cubes?|bricks?)$")


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a sentence asks for. ordered: its steps come one after another."""

    steps: tuple[str, ...]
    ordered: bool


def read_long(text: str, seen: Sequence[str] = ()) -> Read:
    """The steps of a sentence. seen: names of the things on the table, for what says "all".

    Raises KinemaError naming the part that is no step.
    """
    if len(text) > MOST_CHARACTERS:
        raise KinemaError(f"the instruction has {len(text)} characters; at most {MOST_CHARACTERS} are read")
    words = re.sub(r"\s+", " ", text.strip().lower())
    clauses = [clause.strip(" ,") for clause in _BETWEEN.split(words) if clause.strip(" ,")]
    if not clauses:
        raise KinemaError(f"the instruction {text!r} says nothing; sentences like these work: {_told()}")
    groups = [group for clause in clauses for group in _clause(clause, seen)]
    steps = tuple(step for group in groups for step in group.steps)
    if not steps:
        raise KinemaError(f"{text!r} means all blocks, and none is seen")
    return Read(steps=steps, ordered=len(groups) > 1 or all(group.ordered for group in groups))


def is_long(text: str) -> bool:
    """Whether a sentence is understood as several steps, and is not the one that tidies up all by itself."""
    try:
        task = scene_of(text)
    except KinemaError:
        return False
    return len(task.steps) > 1 and (task.ordered or not task.box)


def scene_of(text: str) -> LongTask:
    """What must be on a table for a sentence: "all" blocks are four, or two for a bowl or a plate.

    Raises KinemaError as `read_long`, and for what has no place on one table.
    """
    words = text.lower()
    free = [f"{color} block" for color in COLORS if color not in words]
    into = _ALL.search(words) and re.search(r"\b(?:bowl|plate)\b", words)
    read = read_long(text, free[: 2 if into else 4])
    return task_of(text, read.steps, read.ordered)


def _clause(clause: str, seen: Sequence[str]) -> list[Read]:
    """One clause in steps; one that is several sentences is taken apart."""
    try:
        return [_whole(clause, seen)]
    except KinemaError as error:
        parts = [part.strip() for part in _AND.split(clause) if part.strip()]
        if len(parts) < 2:
            told = str(error).splitlines()[0]
            raise KinemaError(f"no step of a long task is {clause!r}: {told}") from None
    return [read for part in parts for read in _clause(part, seen)]


def _whole(clause: str, seen: Sequence[str]) -> Read:
    if _ALL.search(clause) or _TIDY.search(clause):
        return Read(steps=_each(clause, seen), ordered=False)
    if pile := _PILE.match(clause):
        return Read(steps=_tower(clause, pile.group(1)), ordered=True)
    return Read(steps=(canonical(clause),), ordered=True)


def _each(clause: str, seen: Sequence[str]) -> tuple[str, ...]:
    """A step for every block that is seen."""
    into = _INTO.search(clause)
    preposition, place = into.groups() if into else ("in", "box")
    where = f"{'on' if preposition.startswith('on') else 'in'} the {place}"
    blocks = [name for name in seen if name.endswith(" block")]
    return tuple(canonical(f"put the {block} {where}") for block in blocks)


def _tower(clause: str, named: str) -> tuple[str, ...]:
    """The first named lies at the bottom."""
    colors = re.findall(r"[a-z]+", re.sub(r"\b(?:the|and|blocks?)\b", " ", named))
    if len(colors) < 3:
        return (canonical(clause),)
    if unknown := [color for color in colors if color not in COLORS]:
        raise KinemaError(
            f"{clause!r} names {unknown[0]!r}, which is no colour; colours: {', '.join(COLORS)}"
        )
    return tuple(
        canonical(f"stack the {upper} block on the {lower} block") for lower, upper in pairwise(colors)
    )


def canonical(step: str) -> str:
    """A step in its family's first words. Raises KinemaError when it is none."""
    request = step_request(step)
    return family_named(request.family).ways_to_say(request, ())[0]


def things_of(step: str) -> tuple[str, str]:
    """The names of what a step acts on and of where it goes, empty where nothing goes anywhere."""
    request = step_request(step)
    if request.family == "tidy":
        return f"{request.thing} block", "box"
    thing, place = family_named(request.family).named(request.thing, request.place, request.kind)
    return thing, place if request.place else ""


class TabletopLanguage:
    """The tabletop's sentences, as `runtime.long_task.Language` wants them."""

    def require(self, step: str) -> None:
        step_request(step)

    def lasting(self, steps: Sequence[str]) -> list[bool]:
        """A pressed button springs back, and what is moved again is not where it was."""
        requests = [step_request(step) for step in steps]
        moved = [r.thing if r.family != "button" else "" for r in requests]
        return [bool(thing) and thing not in moved[i + 1 :] for i, thing in enumerate(moved)]

    def other_words(self, step: str, number: int) -> str:
        request = step_request(step)
        ways = family_named(request.family).ways_to_say(request, ())
        return (
            step
            if number == 1
            else ways[(ways.index(step) + number - 1) % len(ways)]
            if step in ways
            else step
        )


def _told() -> str:
    return "; ".join(repr(example) for example in EXAMPLES)
