"""A scripted expert for LIBERO: a task's plan follows from its own goal, one skill for each predicate.

It reads the simulator's state and acts by the benchmark's own actions. Runs in LIBERO's own environment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kinema.bench.libero.arm import OPEN, Arm, Skill
from kinema.bench.libero.picking import put
from kinema.schema import KinemaError

SUITES = ("object",)  # that it solves
Goal = tuple[str, ...]  # a predicate of the task's file and what it is about: ("on", "bowl", "plate")
SKILLS: dict[str, Callable[..., Skill]] = {"on": put, "in": put}  # called with env, arm, *names
_ORDER = ("open", "turnon", "turnoff", "in", "on", "close")  # what is shut last must not be shut too early


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
                yield from SKILLS[predicate](self._env, self._arm, *names)
            yield self._arm.towards(self._arm.grip(), OPEN)


def goals(env: Any) -> list[Goal]:
    """What must hold in the end, as the task's file has it."""
    return [tuple(goal) for goal in env.env.parsed_problem["goal_state"]]


def reached(env: Any, goal: Goal) -> bool:
    """As the package tests it."""
    return bool(env.env._eval_predicate(list(goal)))


def plan(env: Any) -> list[Goal]:
    """The goals in an order in which none undoes another: what carries others is put in place before them."""
    wanted = goals(env)

    def carried_by(goal: Goal) -> int:
        return sum(other[1] == goal[-1] for other in wanted)

    return sorted(wanted, key=lambda goal: (_ORDER.index(goal[0]), carried_by(goal)))
