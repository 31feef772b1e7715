"""Routes in words: several registers, short and long. Some registers are held out for evaluation.

A register is a handful of phrases for each thing that can be said; a sentence is put together from them leg
by leg.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kinema.card.prompt import MAX_INSTRUCTION_CHARS
from kinema.worlds.house.house import Thing
from kinema.worlds.house.route import Leg, Route, Turn

Phrases = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Register:
    """How somebody tells a way.

    begin:  the first turn, where one stands; turn: a later one, behind a door
    leave:  through a door, out of {room} into {next}
    passed: by {thing} on the {side}
    stop:   at {thing}
    join:   between two clauses
    """

    begin: Mapping[Turn, Phrases]
    turn: Mapping[Turn, Phrases]
    leave: Phrases
    passed: Phrases
    stop: Phrases
    join: str
    opening: str = ""


SEEN: dict[str, Register] = {
    "plain": Register(
        begin={
            "straight": ("go straight ahead", "walk forward"), "left": ("turn left", "turn to your left"),
            "right": ("turn right", "turn to your right"), "back": ("turn around",),
        },
        turn={
            "straight": ("go straight on", "keep straight"), "left": ("turn left", "go left"),
            "right": ("turn right", "go right"), "back": ("turn back sharply",),
        },
        leave=("leave the {room} through the door", "go through the door into the {next}"),
        passed=("walk past the {thing}", "pass the {thing} on your {side}"),
        stop=("stop next to the {thing}", "stop at the {thing}"),
        join=", ",
    ),
    "terse": Register(
        begin={"straight": ("ahead",), "left": ("left",), "right": ("right",), "back": ("about turn",)},
        turn={"straight": ("straight",), "left": ("left",), "right": ("right",), "back": ("sharp turn",)},
        leave=("through the door", "into the {next}"),
        passed=("past the {thing}",),
        stop=("stop at the {thing}",),
        join=", ",
    ),
    "full": Register(
        begin={
            "straight": ("you are facing the right way, so walk ahead",),
            "left": ("begin by turning to your left",), "right": ("begin by turning to your right",),
            "back": ("begin by turning all the way around",),
        },
        turn={
            "straight": ("continue straight",), "left": ("make a left",), "right": ("make a right",),
            "back": ("make a sharp turn",),
        },
        leave=("exit the {room} and enter the {next}", "walk out of the {room} into the {next}"),
        passed=("keep the {thing} on your {side}", "continue past the {thing}"),
        stop=("wait by the {thing}", "stop once you reach the {thing}"),
        join=". Then ",
    ),
}  # fmt: skip
HELD_OUT: dict[str, Register] = {
    "asking": Register(
        begin={
            "straight": ("head forward",), "left": ("swing left",), "right": ("swing right",),
            "back": ("face the other way",),
        },
        turn={
            "straight": ("head forward",), "left": ("bear left",), "right": ("bear right",),
            "back": ("double back",),
        },
        leave=("head out of the {room} into the {next}", "take the doorway to the {next}"),
        passed=("move along beside the {thing}", "with the {thing} to your {side} move on"),
        stop=("come to a halt beside the {thing}",),
        join=", and ",
        opening="could you please ",
    ),
    "brief": Register(
        begin={
            "straight": ("onwards",), "left": ("leftwards",), "right": ("rightwards",), "back": ("round",),
        },
        turn={
            "straight": ("onwards",), "left": ("leftwards",), "right": ("rightwards",), "back": ("round",),
        },
        leave=("doorway", "{next}"),
        passed=("by the {thing}",),
        stop=("halt at the {thing}",),
        join="; ",
    ),
}  # fmt: skip
SEARCHES: Phrases = ("find the {thing}", "go to the {thing}", "look for the {thing}")
SEARCHES_HELD_OUT: Phrases = ("could you please locate the {thing}",)
FOLLOWS: Phrases = ("follow the person", "walk behind the person", "stay with the person ahead")
FOLLOWS_HELD_OUT: Phrases = ("could you please keep up with whoever walks there",)


def instruction(rng: np.random.Generator, route: Route, *, held_out: bool = False) -> str:
    """The route in a register that is drawn, with or without what is passed on the way."""
    registers = HELD_OUT if held_out else SEEN
    register = registers[str(rng.choice(sorted(registers)))]
    share = float(rng.choice([0.0, 0.5, 1.0]))  # of what is passed
    text = _sentence(rng, register, route, share)
    if len(text) <= MAX_INSTRUCTION_CHARS:
        return text
    return min((_sentence(rng, register, route, 0.0) for register in registers.values()), key=len)


def _sentence(rng: np.random.Generator, register: Register, route: Route, share: float) -> str:
    clauses: list[str] = []
    for number, leg in enumerate(route.legs):
        following = route.legs[number + 1].room if number + 1 < len(route.legs) else None
        clauses += _clauses(rng, register, leg, number == 0, following, rng.random() < share)
    clauses.append(_one(rng, register.stop, thing=route.target.name))
    return register.opening + register.join.join(clauses)


def _clauses(
    rng: np.random.Generator, register: Register, leg: Leg, first: bool, following: str | None, passing: bool
) -> list[str]:
    """A turn, what is passed and the door behind it; going straight on is said at the beginning only."""
    clauses = []
    if first or leg.turn != "straight" or following is None:
        clauses.append(_one(rng, (register.begin if first else register.turn)[leg.turn]))
    if passing and leg.passed:
        thing, side = leg.passed
        clauses.append(_one(rng, register.passed, thing=thing.name, side=side))
    if following:
        clauses.append(_one(rng, register.leave, room=leg.room, next=following))
    return clauses


def search(rng: np.random.Generator, thing: Thing, *, held_out: bool = False) -> str:
    return _one(rng, SEARCHES_HELD_OUT if held_out else SEARCHES, thing=thing.name)


def follow(rng: np.random.Generator, *, held_out: bool = False) -> str:
    return _one(rng, FOLLOWS_HELD_OUT if held_out else FOLLOWS)


def _one(rng: np.random.Generator, phrases: Phrases, **names: str) -> str:
    return phrases[int(rng.integers(len(phrases)))].format(**names)
