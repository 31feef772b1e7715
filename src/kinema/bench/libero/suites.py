"""What can be played: LIBERO's suites, and the changed ones of LIBERO-PRO and LIBERO-Plus."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.bench.libero.plus import AXES, PLUS
from kinema.bench.own_environment import OwnEnvironment

START_STATES = 50  # of every task
LIBERO = OwnEnvironment(
    benchmark="LIBERO",
    variable="KINEMA_LIBERO",
    folder=".venv-libero",
    script="scripts/setup_libero.sh",
    target="kinema.bench.libero.simulation:LiberoSimulation",
)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """How many tasks, and when an episode is over without success."""

    tasks: int
    max_steps: int


SUITES = {
    "spatial": Suite(tasks=10, max_steps=220),
    "object": Suite(tasks=10, max_steps=280),
    "goal": Suite(tasks=10, max_steps=300),
    "10": Suite(tasks=10, max_steps=520),
    "90": Suite(tasks=90, max_steps=400),
}
STANDARD = ("spatial", "object", "goal", "10")
UNVARIED = "seen"
# LIBERO-PRO's changes of the four usual suites (arXiv 2510.03827), and what the package calls them. It has no
# files of a fifth, the surroundings'.
VARIATIONS = {UNVARIED: "", "position": "swap", "object": "object", "language": "lan", "task": "task"}
OWN_SENTENCES = ("language", "task")  # what is changed stands in the task's file, not in its name
PLUS_PREFIX = "plus-"
CHOICES = (*VARIATIONS, *(f"{PLUS_PREFIX}{axis}" for axis in AXES))


def folder(suite: str, variation: str) -> str:
    """What LIBERO-PRO calls a suite that is changed so."""
    return "_".join(name for name in ("libero", suite, VARIATIONS[variation]) if name)


def environment_of(variation: str) -> OwnEnvironment:
    """Where suites that are changed so are played."""
    return PLUS if variation.startswith(PLUS_PREFIX) else LIBERO
