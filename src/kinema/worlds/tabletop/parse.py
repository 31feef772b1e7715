"""From a free sentence to a scene that holds the things it names."""

from __future__ import annotations

import re
from difflib import get_close_matches

from kinema.schema import KinemaError
from kinema.worlds.tabletop.family import Request
from kinema.worlds.variation import COLORS

EXAMPLES: tuple[str, ...] = (
    "put the red block in the blue bowl",
    "place the yellow block on the green plate",
    "stack the purple block on the red block",
    "push the blue block to the yellow area",
    "press the green button",
    "open the drawer",
    "close the drawer",
    "lift the tray with both arms",
    "tidy up the table",
    "put the green block in the box",
)
MAX_CHARACTERS = 200

_NOUNS = {
    "block": "block", "cube": "block", "brick": "block", "bowl": "bowl", "plate": "plate", "dish": "plate",
    "area": "area", "region": "area", "spot": "area", "zone": "area", "button": "button",
}  # fmt: skip
_THING = re.compile(r"\b(?:(?:the|a|an) )?([a-z]+) (" + "|".join(_NOUNS) + r")\b")
_ARTICLES = ("the", "a", "an", "that", "this", "all", "any")


def parse_instruction(text: str) -> Request:
    """What a sentence asks for. Raises KinemaError with examples when nothing fits it."""
    words = re.sub(r"[^a-z ]+", " ", text.lower())
    words = re.sub(r"\s+", " ", words).strip()
    if not words:
        raise _refusal("the instruction is empty")
    if len(text) > MAX_CHARACTERS:
        raise _refusal(f"the instruction has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    request = _without_colors(text, words) or _with_colors(text, words)
    if request is None:
        raise _refusal(f"no task of the tabletop fits {text!r}")
    return request


def _without_colors(text: str, words: str) -> Request | None:
    if "drawer" in words:
        opens = re.search(r"\b(open|pull|out)\b", words) is not None
        closes = re.search(r"\b(close|shut|push in)\b", words) is not None
        if opens == closes:
            raise _refusal(f"is the drawer to be opened or closed? {text!r} does not say")
        return Request(family="drawer", text=text, kind="open" if opens else "close")
    if "tray" in words and re.search(r"\b(lift|raise|pick up)\b", words):
        return Request(family="lift_two_arms", text=text)
    named = [(color, _NOUNS[noun]) for color, noun in _THING.findall(words) if color not in _ARTICLES]
    if re.search(r"\b(in|into|inside) the box\b", words) and [noun for _, noun in named] == ["block"]:
        return Request(family="tidy", text=text, thing=_color(*named[0], text))
    if re.search(r"\b(tidy|clean)\b", words) or re.search(r"\ball (the |of the )?blocks\b", words):
        return Request(family="tidy", text=text)
    return None


def _with_colors(text: str, words: str) -> Request | None:
    things = [(_color(color, noun, text), _NOUNS[noun]) for color, noun in _THING.findall(words)]
    kinds = [kind for _, kind in things]
    colors = [color for color, _ in things]
    if len(set(colors)) < len(colors):
        raise _refusal(f"{text!r} names two things of one colour; in a scene every colour appears once")
    if kinds == ["button"]:
        return Request(family="button", text=text, thing=colors[0])
    if kinds in (["block", "bowl"], ["block", "plate"]):
        return Request(family="pick_place", text=text, thing=colors[0], place=colors[1], kind=kinds[1])
    if kinds == ["block", "area"]:
        return Request(family="push", text=text, thing=colors[0], place=colors[1])
    if kinds == ["block", "block"]:
        return Request(family="stack", text=text, thing=colors[0], place=colors[1])
    return None


def _color(word: str, noun: str, text: str) -> str:
    if word in COLORS:
        return word
    if word in _ARTICLES:
        raise _refusal(f"which {noun}? {text!r} gives no colour; colours: {', '.join(COLORS)}")
    near = get_close_matches(word, COLORS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise _refusal(f"unknown colour {word!r} in {text!r}: {hint}colours: {', '.join(COLORS)}")


def _refusal(reason: str) -> KinemaError:
    return KinemaError(reason + ". Sentences like these work:\n  " + "\n  ".join(EXAMPLES))
