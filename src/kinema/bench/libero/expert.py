"""A scripted expert for LIBERO: a task's plan follows from its own goal, one skill for each predicate.

It reads the simulator's state and acts by the benchmark's own actions. Runs in LIBERO's own environment.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kinema.bench.libero.arm import OPEN, Arm, Skill
from kinema.bench.libero.articulated import close_part, open_part, turn_off, turn_on
from kinema.bench.libero.goals import goals, plan, reached
from kinema.bench.libero.picking import put
from kinema.bench.libero.sliding import push_to
from kinema.bench.libero.stowing import has_door, stow
from kinema.schema import KinemaError

SUITES = ("spatial", "object", "goal", "10")  # whose tasks it plays
SKILLS: dict[str, Callable[..., Skill]] = {  # called with env, arm, *names
    "on": partial(put, inside=False),
    "in": partial(put, inside=True),
    "push": push_to,
    "stow": stow,
    "open": open_part,
    "close": close_part,
    "turnon": turn_on,
    "turnoff": turn_off,
}


class Expert:
    """For one episode, which it is made for; `act` is called once a step.

    env: LIBERO's evaluation environment, with the start state put
    Raises KinemaError for a goal that it has no skill for.
    """

    def __init__(self, env: Any) -> None:
        self._env, self._arm = env, Arm(env)
        if unknown := [goal for goal in goals(env) if goal[0] not in SKILLS]:
            raise KinemaError(
                f"LIBERO's expert has no skill for {' '.join(unknown[0])}; it can {', '.join(SKILLS)}"
            )
        self._actions = self._played()

    def act(self) -> np.ndarray:
        """A native action (7,)."""
        return next(self._actions)

    def _played(self) -> Skill:
        while True:
            missing = [goal for goal in plan(self._env) if not reached(self._env, goal)]
            if missing:
                predicate, *names = missing[0]
                yield from SKILLS[_means(self._env, predicate, names)](self._env, self._arm, *names)
            yield self._arm.towards(self._arm.grip(), OPEN)


def _means(env: Any, predicate: str, names: list[str]) -> str:
    """The skill by which a predicate is to be brought about: some say more than their predicate."""
    if predicate == "on" and env.env.parsed_problem["language_instruction"][0].lower() == "push":
        return "push"
    return "stow" if predicate == "in" and has_door(env, names[-1]) else predicate
