"""Which weights and which code make a number: found by content, because a path can hold anything.

A `Factory` names an artifact by its folder. Here the folder becomes the digests of its files, and code from
outside the package becomes the digest of its file, wherever in the arguments they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kinema.bench.benchmark import Factory
from kinema.digest import file_digest, file_digests, weights_digest

Made = Mapping[str, Mapping[str, str]]  # by role: digests by file


def made_by(**factories: Factory | None) -> dict[str, dict[str, str]]:
    """The files behind factories, by role: the factory's name here, or that of the argument that holds them.

    A folder that is not there has no files; whoever builds from it says so.
    """
    found: dict[str, dict[str, str]] = {}
    for role, factory in factories.items():
        if factory is not None:
            found |= _files(role, factory)
    return found


def paths_in(*factories: Factory) -> tuple[str, ...]:
    """The folders and files that factories read: artifacts and cards that are files."""
    found = [folder for factory in factories for _, folder in _named("folder", "", asdict(factory))]
    found += [str(card) for factory in factories for card in _cards(factory)]
    return tuple(dict.fromkeys(path for path in found if Path(path).exists()))


def without_places(value: Any) -> Any:
    """A factory as a dict (or what is in one) without the paths of artifacts and results."""
    if not isinstance(value, Mapping):
        return value
    return {key: without_places(inner) for key, inner in value.items() if key not in ("folder", "out")}


def judged_by(factory: Factory) -> str:
    """One word for who acts: the digest of its weights, else of its code, else the name of shipped code."""
    made = made_by(policy=factory)
    weights = {f"{role}/{name}": d for role, files in made.items() for name, d in files.items()}
    if digest := weights_digest(made.get("policy", {})) or weights_digest(weights):
        return digest
    return next(iter(made.get("policy code", {}).values()), factory.target)


def changed(before: Any, now: Made) -> list[str]:
    """What differs between the files of two starts of a run, a sentence each."""
    if not isinstance(before, Mapping):
        return ["no digests of its weights were kept"]
    sentences = []
    for role in sorted({*before, *now}):
        there, here = before.get(role, {}), now.get(role, {})
        for name in sorted({*there, *here}):
            if there.get(name) != here.get(name):
                old, new = (files.get(name, "none")[:12] for files in (there, here))
                sentences.append(f"{name} of the {role} was {old} and is {new}")
    return sentences


def _files(role: str, factory: Factory) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for which, folder in _named("folder", role, asdict(factory)):
        found[which] = file_digests(Path(folder))
    for which, target in _named("target", role, asdict(factory)):
        if code := _foreign_code(target):
            found[f"{which} code"] = {code.name: file_digest(code)}
    cards = {path.name: file_digest(path) for path in _cards(factory)}
    return found | ({"cards": cards} if cards else {})


def _cards(factory: Factory) -> list[Path]:
    bodies = [Path(body) for body in factory.arguments.get("bodies", ()) if isinstance(body, str)]
    return [path for path in bodies if _file(path)]


def _named(key: str, role: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every string that stands under this key, with the role of the factory it belongs to."""
    if not isinstance(value, Mapping):
        return
    for found, inner in value.items():
        if found == key and isinstance(inner, str):
            yield role, inner
        else:
            yield from _named(key, role if found == "arguments" else found, inner)


def _foreign_code(target: str) -> Path | None:
    """The file of a module that is not ours; for ours the commit and the version stand in the result."""
    module = target.partition(":")[0]
    if module.split(".")[0] == "kinema":
        return None
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and _file(Path(spec.origin)) else None


def _file(path: Path) -> bool:
    return path.suffix in (".py", ".yaml", ".yml") and path.is_file()
