"""What a task of LIBERO wants: the predicates of its own file, in an order in which none undoes another."""

from __future__ import annotations

from typing import Any

Goal = tuple[str, ...]  # a predicate of the task's file and what it is about: ("on", "bowl", "plate")
_ORDER = ("open", "turnon", "turnoff", "in", "on", "close")  # what is shut last must not be shut too early


def goals(env: Any) -> list[Goal]:
    """What must hold in the end, as the task's file has it."""
    return [tuple(goal) for goal in env.env.parsed_problem["goal_state"]]


def reached(env: Any, goal: Goal) -> bool:
    """As the package tests it."""
    return bool(env.env._eval_predicate(list(goal)))


def plan(env: Any) -> list[Goal]:
    """The goals, and what must be open for them: what carries others is put in place before them."""
    wanted = goals(env)
    wanted += [("open", goal[-1]) for goal in wanted if goal[0] == "in" and _shut(env, goal)]

    def carried_by(goal: Goal) -> int:
        return sum(other[1] == goal[-1] for other in wanted)

    return sorted(wanted, key=lambda goal: (_ORDER.index(goal[0]), carried_by(goal)))


def _shut(env: Any, goal: Goal) -> bool:
    """Whether a thing is to go into a drawer that has to be opened first."""
    region = env.env.object_sites_dict.get(goal[-1])
    drawer = region is not None and bool(region.joints)
    return drawer and not reached(env, goal) and not reached(env, ("open", goal[-1]))
