"""Which policy a word on the command line means."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.bench.benchmark import Factory
from kinema.card.card import EmbodimentCard
from kinema.card.load import card_names, load_card
from kinema.commands.shipped import ARTIFACTS
from kinema.commands.terminal import words
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.model.policy.loading import Loading

DEFAULT = "shipped"
ARTIFACT_TARGET = "kinema.model.policy.act:LocalPolicy"
HELP = (
    "The policy: `shipped` (the artifact that comes with the package and knows the body), the name or folder "
    "of an artifact, `expert` (scripted, sees the simulator), `hold` (does nothing), `random` (any action of "
    "the body's range), ws://host:port (any server that speaks openpi's protocol), or module:callable."
)
SERVER_TARGET = "kinema.runtime.openpi_policy:OpenpiPolicy"
_BUILT_IN = {
    "expert": "kinema.bench.expert:ExpertPolicy",
    "hold": "kinema.runtime.policy:HoldPolicy",
    "random": "kinema.bench.random_policy:RandomPolicy",
}


def shipped_artifacts() -> dict[str, Path]:
    """Folders of the artifacts that came with the package, by name."""
    folders = sorted(ARTIFACTS.glob("*"))
    return {folder.name: folder for folder in folders if (folder / "config.json").is_file()}


def artifact_folder(name: str, bodies: Collection[str] = ()) -> Path:
    """The folder of a shipped artifact or of the user's own.

    bodies: what `shipped` must know, any of them; empty for any artifact. KinemaError names the choices.
    """
    shipped = shipped_artifacts()
    if name == DEFAULT:
        fitting = [
            folder for folder in shipped.values() if not bodies or set(bodies) & set(bodies_of(folder))
        ]
        if fitting:
            return _short(fitting[0])
        for_whom = f" for {', '.join(sorted(bodies))}" if bodies else ""
        raise KinemaError(
            f"no policy{for_whom} is shipped here; train one (kinema train) or use --policy expert"
        )
    if name in shipped:
        return _short(shipped[name])
    folder = Path(name)
    if folder.is_dir():
        return folder
    known = ", ".join([*shipped, *_BUILT_IN, "ws://host:port"])
    raise KinemaError(f"no policy {name!r}; choices: {known}, the folder of an artifact, or module:callable")


def gate_folder() -> Path | None:
    """The folder of the gate that came with the package, if one did."""
    folder = ARTIFACTS / "gate"
    return _short(folder) if (folder / "gate.json").is_file() else None


def bodies_of(folder: Path) -> tuple[str, ...]:
    """The bodies an artifact was trained on. Raises KinemaError when the folder is not an artifact."""
    return tuple(_read(folder, "stats.json"))


def second_look_px(policy: str, bodies: Collection[str] = ()) -> int:
    """Pixels of a side of the pictures that a policy looks at twice; 0 for any other. As `trained_bodies`."""
    if _is_code(policy):
        return 0
    network = _read(artifact_folder(policy, bodies), "config.json").get("policy", {})
    return network["second_look"]["source_size"] if "second_look" in network else 0


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads((folder / name).read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise KinemaError(f"{folder} is not a whole artifact: {name}: {told}") from None
    return read


def bodies_in(text: str) -> tuple[str, ...]:
    """The names of bodies that are given by name or as files, with commas between.

    Those in files are known by their names from then on. Raises KinemaError for two of one name.
    """
    cards: dict[str, EmbodimentCard] = {}
    for card in map(load_card, words(text)):
        if cards.setdefault(card.name, card) != card:
            raise KinemaError(f"two cards are called {card.name!r}; give one another name")
    return tuple(cards)


def tabletop_bodies(names: Collection[str] = ()) -> tuple[str, ...]:
    """Those of the names (default: of all cards) that stand at the tabletop."""
    from kinema.worlds.tabletop.env import families_for

    return tuple(name for name in names or card_names() if families_for(name))


def trained_bodies(policy: str, bodies: Collection[str] = ()) -> tuple[str, ...]:
    """The bodies a policy is limited to; empty for a policy that is not an artifact and acts on any."""
    return () if _is_code(policy) else bodies_of(artifact_folder(policy, bodies))


def policy_factory(
    name: str, bodies: Collection[str] = (), *, steady: bool = False, server: str = SERVER_TARGET,
    loading: Loading | None = None,
) -> Factory:  # fmt: skip
    """How a process builds the policy; `bodies` as in `artifact_folder`, the rest as in `LocalPolicy`.

    server: the class that asks somebody's server, where the policy is an address
    """
    if _is_code(name):
        if loading is not None:
            raise KinemaError(f"{name} has no weights: leave out --device, --dtype, --quantise and --compile")
        if is_address(name):
            return Factory(target=server, arguments={"url": name})
        return Factory(target=_BUILT_IN.get(name, name))
    arguments: dict[str, Any] = {"folder": str(artifact_folder(name, bodies))}
    if loading is not None:
        arguments["loading"] = loading.to_json()
    if steady:
        arguments["steady"] = True
    return Factory(target=ARTIFACT_TARGET, arguments=arguments)


def _is_code(name: str) -> bool:
    return name in _BUILT_IN or (":" in name and not Path(name).exists())


def is_address(name: str) -> bool:
    return name.startswith(("ws://", "wss://"))


def _short(folder: Path) -> Path:
    """Relative to where we are, when below: results then do not name this machine's folders."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
