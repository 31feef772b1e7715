"""From a free sentence to a scene that holds the things it names."""

from __future__ import annotations

import re

from kinema.schema import KinemaError
from kinema.worlds.tabletop.families import FAMILIES
from kinema.worlds.tabletop.sentence import Request, Sentence

EXAMPLES: tuple[str, ...] = tuple(text for family in FAMILIES for text in family.examples)
MAX_CHARACTERS = 200

_NOUNS = {word: noun for family in FAMILIES for noun, words in family.nouns.items() for word in words}
# A drawer in a sentence says more than the colours of what else it names.
_READERS = sorted(FAMILIES, key=lambda family: family.names_things())


def parse_instruction(text: str) -> Request:
    """What a sentence asks for. Raises KinemaError with examples when nothing fits it."""
    try:
        return _request(text)
    except KinemaError as error:
        told = f"{error}. Sentences like these work:\n  " + "\n  ".join(EXAMPLES)
        raise KinemaError(told) from None


def _request(text: str) -> Request:
    words = re.sub(r"\s+", " ", re.sub(r"[^a-z ]+", " ", text.lower())).strip()
    if not words:
        raise KinemaError("the instruction is empty")
    if len(text) > MAX_CHARACTERS:
        raise KinemaError(f"the instruction has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    sentence = Sentence(text, words, _NOUNS)
    for family in _READERS:
        if request := family.read(sentence):
            return request
    raise KinemaError(f"no task of the tabletop fits {text!r}")
