"""Read a card from YAML, strictly: an error names the file, the key, the value and the choices."""

from __future__ import annotations

import os
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from kinema.card.card import EmbodimentCard
from kinema.card.strict_model import parse_model
from kinema.card.strict_yaml import StrictYamlError, read_bytes

FOLDERS = "KINEMA_CARDS"  # environment: folders of cards of one's own, as in PATH
_KINDS = ("robots", "vehicles", "people")  # folders of cards; only robots are offered as bodies that act


class CardError(ValueError):
    """A card that cannot be read. The message names the file, the key path, the value and the choices."""


_own: dict[str, EmbodimentCard] = {}


def card_names() -> tuple[str, ...]:
    """Names of the robots' cards that come with the package, sorted."""
    return _names_in("robots")


@cache
def _all_shipped() -> frozenset[str]:
    return frozenset((*card_names(), *vehicle_names(), *people_names()))


def vehicle_names() -> tuple[str, ...]:
    """Names of the cards of bodies that only drive, sorted."""
    return _names_in("vehicles")


def people_names() -> tuple[str, ...]:
    """Names of the cards of people who are watched and never sent anything, sorted."""
    return _names_in("people")


def _names_in(kind: str) -> tuple[str, ...]:
    folder = _folder(kind)
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def _folder(kind: str) -> Traversable:
    return files("kinema.card") / kind


def load_card(name_or_path: str | Path) -> EmbodimentCard:
    """The shipped card of this name, or the card in this YAML file.

    A string that ends in .yaml or .yml, or holds a slash, is a path. A card that was read from a path is
    known by its name from then on, in this process; those in the folders of KINEMA_CARDS always are. Raises
    CardError.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith((".yaml", ".yml")) or "/" in text:
        card = read_card(name_or_path)
        know(card)
        return card
    if text in _own:
        return _own[text]
    if text in _all_shipped():
        return _shipped(text)
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        if (path := Path(folder) / f"{text}.yaml").is_file():
            return load_card(path)
    near = get_close_matches(text, [*card_names(), *_own], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    known = ", ".join([*card_names(), *sorted(_own)])
    raise CardError(f"unknown robot {text!r}: {hint}choices: {known}, or a path to a .yaml file")


def read_card(path: str | Path) -> EmbodimentCard:
    """The card in a YAML file, which nobody else gets to know of. Raises CardError."""
    try:
        data = read_bytes(Path(path))
    except StrictYamlError as error:
        raise CardError(f"{error}; shipped cards: {', '.join(card_names())}") from None
    return parse_card(data, str(path))


def know(*cards: EmbodimentCard) -> None:
    """Let cards that are not shipped be found by their names, in this process.

    Raises CardError for one that has a shipped card's name and is not that card, whatever draws it.
    """
    for card in cards:
        if card.name not in _all_shipped():
            _own[card.name] = card
        elif card.model_dump() != _shipped(card.name).model_dump():
            raise CardError(
                f"{card.name!r} is the name of a shipped card, which says other things; give your card a "
                "name of its own"
            )


def own_cards() -> tuple[EmbodimentCard, ...]:
    """Those that are known and not shipped: for processes that are to know them too."""
    return tuple(_own.values())


@cache
def _shipped(name: str) -> EmbodimentCard:
    kind = next(kind for kind in _KINDS if name in _names_in(kind))
    card = parse_card((_folder(kind) / f"{name}.yaml").read_bytes(), f"{name}.yaml")
    if card.name != name:
        raise CardError(f"{name}.yaml: name: {card.name!r} must equal the file's name")
    return card


def parse_card(data: bytes, where: str) -> EmbodimentCard:
    """A card from YAML bytes; `where` names the source in errors. Raises CardError."""
    try:
        return parse_model(EmbodimentCard, data, where, "card")
    except StrictYamlError as error:
        raise CardError(str(error)) from None
