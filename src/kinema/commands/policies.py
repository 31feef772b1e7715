"""Which policy a word on the command line means."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from kinema.bench.benchmark import Factory
from kinema.card.load import load_card
from kinema.schema import KinemaError

HELP = (
    "The policy: the name of a shipped artifact, the folder of one, `expert` (scripted, sees the simulator), "
    "`hold` (does nothing), or module:callable."
)
DEFAULT = "nano"
_LOCAL = "kinema.model.act:LocalPolicy"


def shipped_artifacts() -> dict[str, Path]:
    """Folders of the artifacts that came with the package, by name."""
    root = Path(str(files("kinema") / "artifacts"))
    return {folder.name: folder for folder in sorted(root.glob("*")) if (folder / "config.json").is_file()}


def artifact_folder(name: str) -> Path:
    """The folder of a shipped artifact or of the user's own. Raises KinemaError naming the choices."""
    shipped = shipped_artifacts()
    if name in shipped:
        return shipped[name]
    folder = Path(name)
    if folder.is_dir():
        return folder
    known = ", ".join([*shipped, "expert", "hold"])
    raise KinemaError(f"no policy {name!r}; choices: {known}, the folder of an artifact, or module:callable")


def trained_bodies(name: str) -> tuple[str, ...]:
    """The tabletop bodies an artifact was trained on; empty (meaning all) for other policies."""
    if policy_factory(name).target != _LOCAL:
        return ()
    known = json.loads((artifact_folder(name) / "stats.json").read_text())
    return tuple(body for body in known if load_card(body).control != "metaworld")


def policy_factory(name: str) -> Factory:
    """How a worker process builds the policy."""
    if name == "expert":
        return Factory(target="kinema.bench.expert:ExpertPolicy")
    if name == "hold":
        return Factory(target="kinema.runtime.policy:HoldPolicy")
    if ":" in name and not Path(name).exists():
        return Factory(target=name)
    return Factory(target=_LOCAL, arguments={"folder": str(artifact_folder(name))})
