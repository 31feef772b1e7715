"""How a long task's planner and check are named on the command line and built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.commands.shipped import ARTIFACTS
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.bench.benchmark import Factory
    from kinema.model.film.success import SuccessCheck

BUILT_IN = "built-in"
PLANNER_HELP = (
    "Who makes steps of a long sentence: `built-in` (a grammar), or the base of an OpenAI-compatible API, "
    "such as http://localhost:8000/v1; its key is read from KINEMA_PLANNER_KEY."
)
MODEL_HELP = "The planner's model, where it is an endpoint."
CHECK, DETECTOR = "step_check", "film_detector"


def planner_factory(planner: str, model: str | None) -> Factory:
    """Raises KinemaError for what is neither built in nor an address, or an address without a model."""
    from kinema.bench.benchmark import Factory

    if planner == BUILT_IN:
        if model:
            raise KinemaError(f"the built-in planner has no model; got {model!r}")
        return Factory(target="kinema.worlds.tabletop.long.planner:BuiltInPlanner")
    if not planner.startswith(("http://", "https://")):
        raise KinemaError(f"no planner {planner!r}; choices: {BUILT_IN}, http://host:port/v1")
    if not model:
        raise KinemaError(f"the planner {planner} needs the name of a model: --planner-model NAME")
    return Factory(
        target="kinema.commands.chat_planner:ChatPlanner", arguments={"url": planner, "model": model}
    )


def check_factory() -> Factory:
    """What builds the shipped success check. Raises KinemaError when none is shipped."""
    from kinema.bench.benchmark import Factory

    if not (ARTIFACTS / CHECK / "check.json").is_file():
        raise KinemaError("no success check is shipped here; train one with: kinema train nano_step_check")
    arguments: dict[str, Any] = {
        "check": {"folder": str(ARTIFACTS / CHECK)}, "detector": {"folder": str(ARTIFACTS / DETECTOR)},
    }  # fmt: skip
    return Factory(target="kinema.commands.long_tasks:load_check", arguments=arguments)


def load_check(check: dict[str, str], detector: dict[str, str]) -> SuccessCheck:
    """The check of a folder on the detector of another. Raises KinemaError."""
    from kinema.model.film.eyes import FilmEyes
    from kinema.model.film.success import SuccessCheck
    from kinema.worlds.tabletop.long.words import things_of

    return SuccessCheck.load(Path(check["folder"]), FilmEyes.load(Path(detector["folder"])), things_of)
