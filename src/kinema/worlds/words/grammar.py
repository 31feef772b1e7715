"""Sentences for what is wanted, and what is wanted from sentences: one table of phrases, read both ways.

A meaning (`Command`) has several phrasings. Some words, phrases and whole structures are held out: sentences
for training never have them, held-out sentences have as many of them as they can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from kinema.schema import KinemaError
from kinema.worlds.words import lexicon
from kinema.worlds.words.lexicon import Ways
from kinema.worlds.words.reference import Reference, Sight, is_clear, told_of


@dataclass(frozen=True, kw_only=True)
class Command:
    """What is asked for: an action, on a thing, with a place where it goes."""

    action: str
    thing: Reference | None = None
    place: Reference | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """All that it names."""
        told = [reference for reference in (self.thing, self.place) if reference is not None]
        return tuple(one.kind for one in (*told, *(r.near for r in told if r.near)) if one.kind)


ACTIONS: Mapping[str, Ways] = {
    "put in": Ways(
        (
            "put {thing} in {place}",
            "place {thing} in {place}",
            "pick up {thing} and put it in {place}",
            "move {thing} into {place}",
            "take {thing} and put it into {place}",
        ),
        ("drop {thing} inside {place}", "have {thing} end up in {place}", "let {place} hold {thing}"),
    ),
    "put on": Ways(
        (
            "put {thing} on {place}",
            "place {thing} on {place}",
            "pick up {thing} and put it on {place}",
            "move {thing} onto {place}",
            "take {thing} and put it onto {place}",
        ),
        ("set {thing} down on {place}", "have {thing} end up on {place}", "let {place} carry {thing}"),
    ),
    "stack": Ways(
        ("stack {thing} on {place}", "put {thing} on top of {place}"),
        ("pile {thing} onto {place}", "have {thing} end up on top of {place}"),
    ),
    "push": Ways(
        ("push {thing} to {place}", "slide {thing} to {place}", "push {thing} onto {place}"),
        ("shove {thing} onto {place}", "move {thing} to {place} by pushing it"),
    ),
    "press": Ways(
        ("press {thing}", "push {thing}", "hit {thing}"), ("click {thing}", "press {thing} all the way down")
    ),
    "open": Ways(
        ("open the drawer", "pull the drawer open", "pull out the drawer"), ("slide the drawer open",)
    ),
    "close": Ways(
        ("close the drawer", "push the drawer shut", "shut the drawer"), ("slide the drawer shut",)
    ),
    "lift": Ways(
        ("lift the tray with both arms", "raise the tray with both arms"),
        ("use both arms to lift the tray",),
    ),
    "tidy": Ways(("tidy up the table", "put all the blocks in the box"), ("collect all the blocks",)),
}
_ASKED = Ways(
    ("{do}", "{do}", "please {do}", "{do}, please", "now {do}", "next, {do}"),
    ("could you {do}", "i would like you to {do}", "{do} for me", "your task is this: {do}"),
)
# By what a reference says. Without a seen way the structure itself is held out.
PHRASES: Mapping[tuple[str, ...], Ways] = {
    ("kind",): Ways(("the {kind}",), ("that {kind}",)),
    ("color",): Ways(("the {color} thing", "the {color} one"), ("whatever is {color}",)),
    ("kind", "color"): Ways(("the {color} {kind}",), ("the {kind} that is {color}",)),
    ("kind", "not_color"): Ways(
        ("the {kind} that is not {not_color}", "the {kind}, not the {not_color} one"),
        ("the {kind} which isn't the {not_color} one", "a {kind} other than the {not_color} one"),
    ),
    ("pick",): Ways(("the {pick} thing",), ("the {pick} object of all",)),
    ("kind", "pick"): Ways(
        ("the {pick} {kind}", "the {pick} one of the {kinds}"), ("of the {kinds} the {pick} one",)
    ),
    ("kind", "near"): Ways(
        ("the {kind} nearest {near}", "the {kind} next to {near}"),
        ("whichever {kind} lies beside {near}", "the {kind} that has {near} for a neighbour"),
    ),
    ("kind", "color", "near"): Ways(
        ("the {color} {kind} nearest {near}",), ("the {color} {kind} beside {near}",)
    ),
    ("color", "pick"): Ways(("the {pick} {color} thing",), ("the {pick} of the {color} things",)),
    ("kind", "color", "pick"): Ways((), ("the {pick} {color} {kind}",)),
    ("kind", "not_color", "pick"): Ways((), ("the {pick} {kind} that is not {not_color}",)),
    ("kind", "not_color", "near"): Ways((), ("the {kind} nearest {near} that is not {not_color}",)),
}


def refer(things: Sequence[Sight], target: int, rng: np.random.Generator, held_out: bool) -> Reference:
    """A reference that clearly means one thing of a scene; each structure is as likely as any other.

    Raises KinemaError where nothing tells it from the others.
    """
    by_structure: dict[tuple[str, ...], list[Reference]] = {}
    for reference in told_of(things, target):
        ways = PHRASES.get(reference.said, Ways(()))
        if ways.held_out if held_out else ways.seen:
            by_structure.setdefault(reference.said, []).append(reference)
    for structure in rng.permutation(len(by_structure)):
        told = list(by_structure.values())[structure]
        for i in rng.permutation(len(told)):
            if is_clear(told[i], things, target):
                return told[i]
    raise KinemaError(f"nothing tells thing {target} from the others: {things[target]}")


def say(command: Command, things: Sequence[Sight], rng: np.random.Generator, held_out: bool = False) -> str:
    """One sentence for a command in a scene."""
    phrases = {
        slot: _phrase(reference, things, rng, held_out)
        for slot, reference in (("thing", command.thing), ("place", command.place))
        if reference is not None
    }
    do = _one(ACTIONS[command.action], rng, held_out).format(**phrases)
    return _one(_ASKED, rng, held_out).format(do=do)


def read(text: str) -> Command:
    """The one command that a sentence of the grammar gives. Raises KinemaError for any other."""
    found = set(_commands(_words(text)))
    if len(found) != 1:
        raise KinemaError(
            f"{text!r} has {len(found)} meanings, not one" if found else f"no meaning: {text!r}"
        )
    return found.pop()


def _one(ways: Ways, rng: np.random.Generator, held_out: bool) -> str:
    texts = ways.held_out or ways.seen if held_out else ways.seen
    return texts[rng.integers(len(texts))]


def _phrase(reference: Reference, things: Sequence[Sight], rng: np.random.Generator, held_out: bool) -> str:
    kind = _one(lexicon.KINDS[reference.kind], rng, held_out) if reference.kind else ""
    kind_only = Reference(kind=reference.kind, color=reference.color, not_color=reference.not_color)
    picks = lexicon.PICKS_OF_TWO if len(kind_only.fitting(things)) == 2 else lexicon.PICKS_OF_MANY
    return _one(PHRASES[reference.said], rng, held_out).format(
        kind=kind,
        kinds=lexicon.plural(kind),
        color=_one(lexicon.COLORS[reference.color], rng, held_out) if reference.color else "",
        not_color=_one(lexicon.COLORS[reference.not_color], rng, held_out) if reference.not_color else "",
        pick=_one(picks[reference.pick], rng, held_out) if reference.pick else "",
        near=_phrase(reference.near, things, rng, held_out) if reference.near else "",
    )


def ask(
    action: str, things: Sequence[Sight], thing: int | None, place: int | None, rng: np.random.Generator,
    held_out: bool = False,
) -> str:  # fmt: skip
    """A sentence that asks for an action on these two of a scene's things, where its phrases name them.

    Raises KinemaError where nothing tells one of them from the others.
    """
    told = {
        slot: refer(things, number, rng, held_out)
        for slot, number in (("thing", thing), ("place", place))
        if number is not None and f"{{{slot}}}" in ACTIONS[action].seen[0]
    }
    return say(Command(action=action, **told), things, rng, held_out)


Words = tuple[str, ...]


@cache
def _words(text: str) -> Words:
    return tuple(re.findall(r"[a-z]+|\{\w+\}", text.lower()))


@cache
def _meanings() -> Mapping[str, Mapping[Words, str]]:
    """What the words in each slot of a phrase mean."""
    picks = [lexicon.PICKS_OF_TWO, lexicon.PICKS_OF_MANY]
    colors = _by_words([lexicon.COLORS])
    return {
        "kind": _by_words([lexicon.KINDS]),
        "kinds": {_words(lexicon.plural(name)): key for key, w in lexicon.KINDS.items() for name in w.all()},
        "color": colors,
        "not_color": colors,
        "pick": _by_words(picks),
    }


def _by_words(tables: Sequence[Mapping[str, Ways]]) -> dict[Words, str]:
    return {_words(name): key for table in tables for key, ways in table.items() for name in ways.all()}


def _commands(words: Words) -> Iterator[Command]:
    for asked in dict.fromkeys(_ASKED.all()):
        for outer in _slots(asked, words):
            for action, ways in ACTIONS.items():
                for way in ways.all():
                    for slots in _slots(way, outer["do"]):
                        yield from _filled(action, slots)


def _filled(action: str, slots: Mapping[str, Words]) -> Iterator[Command]:
    things = list(_references(slots["thing"])) if "thing" in slots else [None]
    places = list(_references(slots["place"])) if things and "place" in slots else [None]
    for thing in things:
        for place in places:
            yield Command(action=action, thing=thing, place=place)


def _references(words: Words, plain: bool = False) -> Iterator[Reference]:
    """plain: only by kind and colour, as the other thing is told that something is near to."""
    for said, ways in PHRASES.items():
        if plain and not set(said) <= {"kind", "color"}:
            continue
        for way in ways.all():
            for slots in _slots(way, words):
                yield from _told(slots)


def _told(slots: Mapping[str, Words]) -> Iterator[Reference]:
    given: dict[str, Any] = {}
    for slot, words in slots.items():
        if slot != "near":
            meaning = _meanings()[slot].get(words)
            if meaning is None:
                return
            given[slot.replace("kinds", "kind")] = meaning
    if "near" not in slots:
        yield Reference(**given)
        return
    for other in _references(slots["near"], plain=True):
        yield Reference(**given, near=other)


def _slots(way: str, words: Words) -> Iterator[dict[str, Words]]:
    """What the slots of a phrase hold where these are its words, in every way that fits."""
    pattern = _words(way)
    if all(word.startswith("{") or word in words for word in pattern):
        yield from _matches(pattern, words)


def _matches(pattern: Words, words: Words) -> Iterator[dict[str, Words]]:
    """Each slot with one word or more."""
    if not pattern:
        if not words:
            yield {}
        return
    if not pattern[0].startswith("{"):
        if words and words[0] == pattern[0]:
            yield from _matches(pattern[1:], words[1:])
        return
    for end in range(1, len(words) - len(pattern) + 2):
        for rest in _matches(pattern[1:], words[end:]):
            yield {pattern[0][1:-1]: words[:end], **rest}
