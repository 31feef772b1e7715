"""A free sentence as the families read it: its words, and the things it names by their colours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from kinema.schema import KinemaError
from kinema.worlds.variation import COLORS
from kinema.worlds.words.grammar import Command

_ARTICLES = ("the", "a", "an", "that", "this", "all", "any")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a sentence asks for; empty fields are free. `text` becomes the episode's instruction."""

    family: str
    text: str
    thing: str = ""  # colour of the thing to act on
    place: str = ""  # colour of where it goes
    kind: str = ""  # "bowl" or "plate"; "open" or "close"
    command: Command | None = None  # in the wide look: as the grammar of words reads it


@dataclass(frozen=True)
class Sentence:
    """`words`: `text` in small letters and single spaces; `nouns`: the tabletop's, by every word for one."""

    text: str
    words: str
    nouns: Mapping[str, str]

    def has(self, pattern: str) -> bool:
        """Whether these words, a regular expression, stand in it."""
        return re.search(rf"\b(?:{pattern})\b", self.words) is not None

    @cached_property
    def _found(self) -> list[tuple[str, str]]:
        """The word before each noun, and the noun."""
        return re.findall(rf"\b(?:(?:the|a|an) )?([a-z]+) ({'|'.join(self.nouns)})\b", self.words)

    @cached_property
    def colored(self) -> list[tuple[str, str]]:
        """(word, noun) of what stands with a word of its own, be it a colour or not."""
        return [(word, self.nouns[noun]) for word, noun in self._found if word not in _ARTICLES]

    @cached_property
    def things(self) -> list[tuple[str, str]]:
        """(colour, noun) of all it names. Raises KinemaError: a colour is missing, unknown or there twice."""
        things = [(self.color(word, noun), self.nouns[noun]) for word, noun in self._found]
        if len({color for color, _ in things}) < len(things):
            told = "names two things of one colour; in a scene every colour appears once"
            raise KinemaError(f"{self.text!r} {told}")
        return things

    def color(self, word: str, noun: str) -> str:
        """The word, if it is a colour. Raises KinemaError."""
        if word in COLORS:
            return word
        if word in _ARTICLES:
            raise KinemaError(f"which {noun}? {self.text!r} gives no colour; colours: {', '.join(COLORS)}")
        near = get_close_matches(word, COLORS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        told = f"unknown colour {word!r} in {self.text!r}: {hint}colours: {', '.join(COLORS)}"
        raise KinemaError(told)
