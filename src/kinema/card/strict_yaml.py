"""YAML, read strictly: plain types, no key twice, nothing that grows without bound or is not finite."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Hashable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000  # after anchors are expanded, so that a small file cannot grow without bound
MAX_DEPTH = 20


class StrictYamlError(ValueError):
    """A file that cannot be read, or bytes that are not such YAML. The message says what and where."""


def meant(key: str, known: Collection[str]) -> str:
    """For who wrote an unknown key: the nearest right one, or all of them."""
    near = get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"keys here: {', '.join(known)}"


def read_bytes(path: Path) -> bytes:
    """A file's bytes, no more than can be told to be too many. Raises StrictYamlError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StrictYamlError(f"{path}: cannot be read: {error.strerror}") from None


def read_mapping(data: bytes, what: str, where: str = "") -> dict[str, Any]:
    """A mapping of keys to values from YAML (or JSON) bytes.

    what, where: the thing and its source, as errors call them
    Raises StrictYamlError.
    """
    try:
        return _mapping(data, what)
    except StrictYamlError as error:
        raise StrictYamlError(f"{where}: {error}" if where else str(error)) from None


def _mapping(data: bytes, what: str) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise StrictYamlError(f"{len(data)} bytes; a {what} has at most {MAX_BYTES}")
    try:
        tree = yaml.load(data.decode("utf-8"), Loader=_StrictLoader)
    except UnicodeDecodeError as error:
        raise StrictYamlError(f"not UTF-8 text (byte {error.start})") from None
    except yaml.YAMLError as error:
        raise StrictYamlError(" ".join(str(error).split())) from None
    except RecursionError:
        raise StrictYamlError("nested too deeply") from None
    if not isinstance(tree, dict):
        raise StrictYamlError(f"a {what} is a mapping of keys to values; got {type(tree).__name__}")
    _check_values(tree)
    return tree


def key_path(path: tuple[str | int, ...]) -> str:
    """Where a value stands: `arms[0].links[2].mass`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


class _StrictLoader(yaml.CSafeLoader):  # libyaml reads a card in a tenth of the time
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


def _check_values(tree: dict[str, Any]) -> None:
    """Refuse what would never end (loops and bombs of anchors) and numbers that are not finite."""
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), tree)]
    count = 0
    while pending:
        path, node = pending.pop()
        count += 1
        if count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise StrictYamlError(
                f"more than {MAX_VALUES} values or {MAX_DEPTH} levels once anchors are expanded"
            )
        if isinstance(node, dict):
            pending += [((*path, key), value) for key, value in node.items()]
        elif isinstance(node, list):
            pending += [((*path, i), value) for i, value in enumerate(node)]
        elif isinstance(node, float) and not math.isfinite(node):
            raise StrictYamlError(f"{key_path(path)}: {node} is not a finite number")
