"""Laws of the order in which LIBERO's expert goes about a task's goals, with a stand-in for LIBERO."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kinema.bench.libero.goals import Goal, plan, reached

DRAWER = "cabinet_top_region"


def env(*goals: Goal, holds: tuple[Goal, ...] = ()) -> Any:
    sites = {DRAWER: SimpleNamespace(joints=["slide"]), "basket_region": SimpleNamespace(joints=[])}
    domain = SimpleNamespace(
        parsed_problem={"goal_state": [list(goal) for goal in goals]},
        object_sites_dict=sites,
        _eval_predicate=lambda goal: tuple(goal) in holds,
    )
    return SimpleNamespace(env=domain)


IN, CLOSED, OPEN = ("in", "bowl", DRAWER), ("close", DRAWER), ("open", DRAWER)


def test_a_drawer_is_opened_for_what_goes_in_and_shut_last() -> None:
    assert plan(env(CLOSED, IN)) == [OPEN, IN, CLOSED]


def test_an_open_drawer_and_one_with_the_thing_inside_are_not_opened() -> None:
    assert plan(env(CLOSED, IN, holds=(OPEN,))) == [IN, CLOSED]
    assert plan(env(CLOSED, IN, holds=(IN,))) == [IN, CLOSED]


def test_what_has_no_joint_is_not_opened() -> None:
    assert plan(env(("in", "soup", "basket_region"))) == [("in", "soup", "basket_region")]


def test_what_carries_others_is_put_before_them() -> None:
    lower, upper = ("on", "bowl_2", "plate"), ("on", "bowl_1", "bowl_2")
    assert plan(env(upper, lower)) == [lower, upper]


def test_whether_a_goal_is_reached_is_the_packages_own_answer() -> None:
    assert reached(env(IN, holds=(IN,)), IN)
    assert not reached(env(IN), IN)
