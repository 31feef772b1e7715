"""Read a card from YAML, strictly: an error names the file, the key, the value and the choices."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from kinema.card.card import EmbodimentCard

MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000  # after anchors are expanded, so that a small file cannot grow without bound
MAX_DEPTH = 20
_ROBOTS = files("kinema.card") / "robots"


class CardError(ValueError):
    """A card that cannot be read. The message names the file, the key path, the value and the choices."""


def card_names() -> tuple[str, ...]:
    """Names of the cards that come with the package, sorted."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in _ROBOTS.iterdir() if f.name.endswith(".yaml")))


def load_card(name_or_path: str | Path) -> EmbodimentCard:
    """The shipped card of this name, or the card in this YAML file.

    A string that ends in .yaml or .yml, or holds a slash, is a path. Raises CardError.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith((".yaml", ".yml")) or "/" in text:
        return parse_card(_read(Path(name_or_path)), str(name_or_path))
    if text not in card_names():
        near = get_close_matches(text, card_names(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise CardError(
            f"unknown robot {text!r}: {hint}choices: {', '.join(card_names())}, or a path to a .yaml file"
        )
    return _shipped(text)


@cache
def _shipped(name: str) -> EmbodimentCard:
    card = parse_card((_ROBOTS / f"{name}.yaml").read_bytes(), f"{name}.yaml")
    if card.name != name:
        raise CardError(f"{name}.yaml: name: {card.name!r} must equal the file's name")
    return card


def parse_card(data: bytes, where: str) -> EmbodimentCard:
    """A card from YAML bytes; `where` names the source in errors. Raises CardError."""
    if len(data) > MAX_BYTES:
        raise CardError(f"{where}: {len(data)} bytes; a card has at most {MAX_BYTES}")
    try:
        tree = yaml.load(data.decode("utf-8"), Loader=_StrictLoader)
    except UnicodeDecodeError as error:
        raise CardError(f"{where}: not UTF-8 text (byte {error.start})") from None
    except yaml.YAMLError as error:
        raise CardError(f"{where}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise CardError(f"{where}: nested too deeply") from None
    if not isinstance(tree, dict):
        raise CardError(f"{where}: a card is a mapping of keys to values; got {type(tree).__name__}")
    _check_values(tree, where)
    try:
        # Through JSON: pydantic's strict mode then takes lists for tuples but never a string for a number.
        return EmbodimentCard.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise CardError("\n".join(_explain(where, problem) for problem in error.errors()[:10])) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CardError(
            f"{path}: cannot be read: {error.strerror}; shipped cards: {', '.join(card_names())}"
        ) from None


class _StrictLoader(yaml.SafeLoader):
    """YAML's plain types only: text keys, no key twice, no dates, no tags, and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {name!r} must be text", key.start_mark
                )
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {name!r} is given twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


_PLAIN = ("map", "seq", "str", "int", "float", "bool", "null")
_StrictLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _PLAIN
}
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":value"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _check_values(tree: dict[str, Any], where: str) -> None:
    """Refuse what would never end (loops and bombs of anchors) and numbers that are not finite."""
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), tree)]
    count = 0
    while pending:
        path, node = pending.pop()
        count += 1
        if count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise CardError(
                f"{where}: more than {MAX_VALUES} values or {MAX_DEPTH} levels once anchors are expanded"
            )
        if isinstance(node, dict):
            pending += [((*path, key), value) for key, value in node.items()]
        elif isinstance(node, list):
            pending += [((*path, i), value) for i, value in enumerate(node)]
        elif isinstance(node, float) and not math.isfinite(node):
            raise CardError(f"{where}: {_key_path(path)}: {node} is not a finite number")


def _explain(where: str, problem: Any) -> str:
    path = problem["loc"]
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"{where}: {_key_path(path)}: unknown key{_suggest(path)}"
    if problem["type"] == "missing":
        return f"{where}: {_key_path(path)}: missing key"
    value = problem["input"]
    shown = "" if isinstance(value, (dict, list)) else f" (got {value!r})"
    return f"{where}: {_key_path(path) or 'card'}: {message}{shown}"


def _suggest(path: tuple[str | int, ...]) -> str:
    model: type[BaseModel] = EmbodimentCard
    for part in path[:-1]:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or model
    keys = list(model.model_fields)
    near = get_close_matches(str(path[-1]), keys, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; keys here: {', '.join(keys)}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def _key_path(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
