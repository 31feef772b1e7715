"""From a free sentence to a scene that holds the things it names."""

from __future__ import annotations

import re

from kinema.schema import KinemaError
from kinema.worlds.tabletop.families import DYNAMIC, FAMILIES
from kinema.worlds.tabletop.sentence import Request, Sentence
from kinema.worlds.words import grammar

_ALL = (*DYNAMIC, *FAMILIES)  # that a thing moves says more than what it is and where it goes
EXAMPLES: tuple[str, ...] = tuple(text for family in (*FAMILIES, *DYNAMIC) for text in family.examples)
MAX_CHARACTERS = 200

_BY_ACTION = {action: (family, kind) for family in FAMILIES for kind, action in family.actions.items()}
_NOUNS = {word: noun for family in _ALL for noun, words in family.nouns.items() for word in words}
# A drawer in a sentence says more than the colours of what else it names.
_READERS = sorted(_ALL, key=lambda family: family.names_things())


def parse_instruction(text: str, look: str = "plain") -> Request:
    """What a sentence asks for in a scene of this look. Raises KinemaError with examples of what fits."""
    try:
        return _read_widely(text) if look == "wide" else _read(text)
    except KinemaError as error:
        told = f"{error}. Sentences like these work:\n  " + "\n  ".join(EXAMPLES)
        raise KinemaError(told) from None


def _read_widely(text: str) -> Request:
    """By the grammar of words, which knows more things, and which of them."""
    _check_length(text)
    command = grammar.read(text)
    family, kind = _BY_ACTION[command.action]
    if command.place and command.place.kind in family.actions:
        kind = command.place.kind
    thing, place = (reference.color if reference else "" for reference in (command.thing, command.place))
    return Request(family=family.name, text=text, thing=thing, place=place, kind=kind, command=command)


def _check_length(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise KinemaError(f"the instruction has {len(text)} characters; at most {MAX_CHARACTERS} are read")


def _read(text: str) -> Request:
    words = re.sub(r"\s+", " ", re.sub(r"[^a-z ]+", " ", text.lower())).strip()
    if not words:
        raise KinemaError("the instruction is empty")
    _check_length(text)
    sentence = Sentence(text, words, _NOUNS)
    for family in _READERS:
        if request := family.read(sentence):
            return request
    raise KinemaError(f"no task of the tabletop fits {text!r}")
