"""Continuous actions in words, and the words read back: one mapping for all bodies, with its inverse.

`say` puts a `Moved` into a sentence, and `read` makes the amounts from the sentence again: up to half a step
of the scale in `_SCALES`. What is said of one body can be read without its card.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import numpy as np

from kinema.space.moved import Grip, Moved


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """How a quantity is said: its unit in words, the SI value of one unit, and the step in units."""

    unit: str
    si: float
    step: float


_SCALES = {
    "cm": _Scale(unit="cm", si=0.01, step=1.0),
    "m": _Scale(unit="m", si=1.0, step=0.1),
    "degrees": _Scale(unit="degrees", si=np.pi / 180, step=1.0),
    "percent": _Scale(unit="percent", si=0.01, step=5.0),
    "m/s": _Scale(unit="m/s", si=1.0, step=0.1),
    "degrees/s": _Scale(unit="degrees per second", si=np.pi / 180, step=1.0),
}


@dataclass(frozen=True, kw_only=True)
class _Phrase:
    """How one slot's motion is said: its words around {amount} and the way it goes, + and -."""

    words: str
    ways: tuple[str, str]
    scale: str
    unit: str = ""  # in `Moved.units`; empty where it is the slot's usual one

    def say(self, count: int, joint: str) -> str:
        scale = _SCALES[self.scale]
        number = f"{abs(count) * scale.step:g}"
        amount = f"{number} {scale.unit.replace('degrees', 'degree') if number == '1' else scale.unit}"
        return self.words.format(amount=amount, way=self.ways[count < 0], joint=joint)


_ELIDED = ("moves", "covers", "bends", "slides")  # verbs that are left out when they repeat the one before


@cache
def _pattern(phrase: _Phrase) -> re.Pattern[str]:
    """Finds what `phrase` says, with or without a verb that may be left out."""
    verb, _, rest = phrase.words.partition(" ")
    words = rest if verb in _ELIDED else phrase.words
    unit = re.escape(_SCALES[phrase.scale].unit).replace("degrees", "degrees?")
    pattern = words.format(
        amount=rf"(?P<count>\d+(?:\.\d+)?) {unit}",
        way=rf"(?P<way>{'|'.join(phrase.ways)})\b",
        joint=r"joint (?P<joint>\d+)",
    )
    return re.compile(rf"(?<![\w.-]){pattern}")


def _arm_phrases() -> dict[str, tuple[_Phrase, ...]]:
    ways = {"x": ("forward", "backward"), "y": ("left", "right"), "z": ("up", "down")}
    moves = {
        f"ee.{axis}": (_Phrase(words="moves {amount} {way}", ways=pair, scale="cm"),)
        for axis, pair in ways.items()
    }
    turns = {
        "rot.0": ("rolls", "right", "left"),
        "rot.1": ("pitches", "down", "up"),
        "rot.2": ("yaws", "left", "right"),
    }
    rotations = {
        slot: (_Phrase(words=verb + " {amount} {way}", ways=(plus, minus), scale="degrees"),)
        for slot, (verb, plus, minus) in turns.items()
    }
    drive = "moves hand {joint} by {amount} {way}"  # of a hand whose values count from closed to open
    value = _Phrase(words=drive, ways=("open", "closed"), scale="percent", unit="fraction")
    return {**moves, **rotations, "hand": (*_joint_phrases("hand "), value), "joint": _joint_phrases("")}


def _joint_phrases(kind: str) -> tuple[_Phrase, ...]:
    """A joint turns or slides; its number counts from 1, as people do."""
    turn = f"bends {kind}{{joint}} by {{amount}} {{way}}"
    slide = f"slides {kind}{{joint}} by {{amount}} {{way}}"
    return (
        _Phrase(words=turn, ways=("counter-clockwise", "clockwise"), scale="degrees"),
        _Phrase(words=slide, ways=("outwards", "inwards"), scale="cm", unit="m"),
    )


_ARM = _arm_phrases()
_BASE = {
    "waypoint.x": (_Phrase(words="covers {amount} {way}", ways=("ahead", "back"), scale="m"),),
    "waypoint.y": (_Phrase(words="covers {amount} to the {way}", ways=("left", "right"), scale="m"),),
    "waypoint.theta": (
        _Phrase(words="heads {amount} to the {way}", ways=("left", "right"), scale="degrees"),
    ),
    "velocity.x": (_Phrase(words="drives {way} at {amount}", ways=("forward", "backward"), scale="m/s"),),
    "velocity.y": (_Phrase(words="drifts {way} at {amount}", ways=("left", "right"), scale="m/s"),),
    "velocity.theta": (
        _Phrase(words="spins {way} at {amount}", ways=("left", "right"), scale="degrees/s"),
        _Phrase(words="steers {amount} {way}", ways=("left", "right"), scale="degrees", unit="rad"),
    ),
    "waist": _joint_phrases("waist "),
    "head": _joint_phrases("head "),
}
_PHRASES = {"left": _ARM, "right": _ARM, "base": _BASE}
_SUBJECTS = {"left": "the left arm", "right": "the right arm", "base": "the vehicle"}


def say(moved: Moved) -> str:
    """One sentence without a full stop: a clause for each part of the body that it speaks of."""
    clauses = []
    for part, subject in _SUBJECTS.items():
        owned = [slot for slot in moved.amounts if slot.partition(".")[0] == part]
        if owned or part in moved.grips:
            said = _elide([_say_slot(slot, moved) for slot in owned])
            if part in moved.grips:
                said.append(_say_grip(moved.grips[part]))
            clauses.append(f"{subject} {_listed(said) if said else 'holds still'}")
    return "; ".join(clauses) or "nothing moves"


def _say_slot(slot: str, moved: Moved) -> str:
    phrase, joint = _phrase(slot, moved.units.get(slot, ""))
    count = _steps(moved.amounts[slot], phrase.scale)
    return phrase.say(count, joint) if count else ""


def verb_of(grip: Grip) -> str:
    """Which way a gripper goes, judged by what is said of it."""
    before, after = _steps(grip.before, "percent"), _steps(grip.after, "percent")
    return "keeps" if before == after else "opens" if after > before else "closes"


def _say_grip(grip: Grip) -> str:
    before, after = (f"{5 * _steps(value, 'percent')}" for value in (grip.before, grip.after))
    if verb_of(grip) == "keeps":
        return f"keeps its gripper {after} percent open"
    return f"{verb_of(grip)} its gripper from {before} to {after} percent"


def _elide(said: list[str]) -> list[str]:
    """Without what is not moved, and each verb once: "moves 3 cm left, 2 cm up"."""
    out, last = [], ""
    for words in filter(None, said):
        verb, _, rest = words.partition(" ")
        out.append(rest if verb == last else words)
        last = verb
    return out


def _listed(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def read(text: str) -> Moved:
    """What a sentence of `say` says. Slots that it does not speak of did not move.

    Raises ValueError when a clause has no subject that is known, or holds words that are not understood.
    """
    amounts: dict[str, float] = {}
    grips: dict[str, Grip] = {}
    units: dict[str, str] = {}
    for clause in text.strip().rstrip(".").split("; "):
        if clause == "nothing moves":
            continue
        part = next((p for p, subject in _SUBJECTS.items() if clause.startswith(subject + " ")), None)
        if part is None:
            raise ValueError(f"{clause!r} begins with none of {list(_SUBJECTS.values())}")
        rest = clause.removeprefix(_SUBJECTS[part])
        rest = _read_grip(rest, part, grips)
        for name, phrases in _PHRASES[part].items():
            for phrase in phrases:
                rest = _read_phrase(rest, f"{part}.{name}", phrase, amounts, units)
        left = re.sub(rf"\b(and|holds still|{'|'.join(_ELIDED)})\b|[,\s]", "", rest)
        if left:
            raise ValueError(f"{clause!r}: not understood: {rest.strip()!r}")
    return Moved(amounts=amounts, grips=grips, units=units)


def _read_phrase(
    clause: str, slot: str, phrase: _Phrase, amounts: dict[str, float], units: dict[str, str]
) -> str:
    """Takes what one phrase says out of the clause; returns what is left of it."""

    def take(found: re.Match[str]) -> str:
        scale = _SCALES[phrase.scale]
        sign = (1.0, -1.0)[phrase.ways.index(found["way"])]
        joint = found.groupdict().get("joint")
        key = f"{slot}.{int(joint) - 1}" if joint else slot
        amounts[key] = sign * float(found["count"]) * scale.si
        if phrase.unit:
            units[key] = phrase.unit
        return ""

    return _pattern(phrase).sub(take, clause)


_GRIP = re.compile(
    r"keeps its gripper (?P<kept>\d+) percent open"
    r"|(?P<verb>opens|closes) its gripper from (?P<before>\d+) to (?P<after>\d+) percent"
)


def _read_grip(clause: str, part: str, grips: dict[str, Grip]) -> str:
    found = _GRIP.search(clause)
    if found is None:
        return clause
    before, after = (int(found["kept"] or found[key]) / 100 for key in ("before", "after"))
    grip = Grip(before=before, after=after)
    if found["verb"] and verb_of(grip) != found["verb"]:
        raise ValueError(
            f"{clause!r}: a gripper that {found['verb']} does not go {found['before']} to {found['after']}"
        )
    grips[part] = grip
    return clause[: found.start()] + clause[found.end() :]


def tolerance(slot: str, unit: str = "") -> float:
    """How far an amount that was said may be from the true one, in SI units: half a step of its scale."""
    name = "percent" if slot.endswith(".gripper") else _phrase(slot, unit)[0].scale
    scale = _SCALES[name]
    return 0.5 * scale.step * scale.si


def _phrase(slot: str, unit: str) -> tuple[_Phrase, str]:
    """A slot's phrase, and the words for its joint. Raises ValueError naming the slots that have words."""
    part, _, name = slot.partition(".")
    table, joint = _PHRASES.get(part, {}), ""
    if name not in table and name.rpartition(".")[0] in table:
        name, _, number = name.rpartition(".")
        joint = f"joint {int(number) + 1}"
    found = [phrase for phrase in table.get(name, ()) if phrase.unit == unit]
    if not found:
        raise ValueError(
            f"slot {slot!r} has no words{f' in {unit}' if unit else ''}; words exist for {list(table)}"
        )
    return found[0], joint


def _steps(amount: float, scale: str) -> int:
    """The nearest whole number of steps."""
    return int(np.floor(amount / (_SCALES[scale].si * _SCALES[scale].step) + 0.5))
