"""The loop of a long task: one step after another, checked, tried again in other words, within a budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.runtime.long_task import Budget, LongTaskPolicy, Tried, way_back
from kinema.runtime.policy import HoldPolicy, hold_action
from kinema.schema import ActionChunk, KinemaError, Observation

CARD = load_card("panda")
HOME = np.array([0.45, 0.0, 0.30, 0.0, 0.0, 0.0, 1.0])
LOW = np.array([0.50, 0.1, 0.02, 0.0, 0.0, 0.2, 0.1])


class Listener(HoldPolicy):
    """Holds, and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        self.told.append(observation.instruction)
        return super().infer(observation, card_name, committed)


class Steps:
    """A planner with prepared plans, the last of them for ever."""

    def __init__(self, *plans: Sequence[str]) -> None:
        self.plans, self.asked = plans, 0

    def plan(self, goal: str, seen: Sequence[str], tried: Sequence[Tried]) -> Sequence[str]:
        self.asked += 1
        return self.plans[min(self.asked, len(self.plans)) - 1]


class After:
    """A check that finds a step done from its so many-th try on; "never" is never done."""

    limit = 0.5

    def __init__(self, policy: Listener, tries: int = 1) -> None:
        self._policy, self._tries = policy, tries

    def chance(self, observation: Observation, step: str) -> float:
        words = list(dict.fromkeys(told for told in self._policy.told if told.startswith(step)))
        return float(step != "never" and len(words) >= self._tries)


class Language:
    def require(self, step: str) -> None:
        if step == "fly":
            raise KinemaError("nobody here can 'fly'")

    def lasting(self, steps: Sequence[str]) -> list[bool]:
        return [True] * len(steps)

    def other_words(self, step: str, number: int) -> str:
        return step if number == 1 else f"{step} ({number})"


def _play(long: LongTaskPolicy, most_s: float = 400.0) -> float:
    """Ask every 0.4 s; the body does at once what it is told. Returns when it was over."""
    state, now_s = HOME, 0.0
    long.reset(0)
    while now_s < most_s and not long.report.is_over:
        observation = Observation(images={}, state=state.astype(np.float32), instruction="all", time_s=now_s)
        chunk = long.infer(observation, "panda")
        assert (chunk.times_s > now_s).all()
        state, now_s = chunk.values[min(3, len(chunk.values) - 1)], now_s + 0.4
    return now_s


def _long(planner: Steps, done_from: int = 1, **budget: float) -> tuple[LongTaskPolicy, Listener]:
    policy = Listener()
    check = After(policy, done_from)
    return LongTaskPolicy(policy, planner, check, Language(), budget=Budget(**budget)), policy


def test_steps_are_told_one_after_another_and_then_the_body_holds() -> None:
    long, policy = _long(Steps(["one", "two"]))
    _play(long)
    assert [one.step for one in long.report.tried] == ["one", "two"]
    assert list(dict.fromkeys(policy.told)) == ["one", "two"]
    assert long.report.claims_success
    assert long.report.retries == 0
    asked = len(policy.told)
    after = Observation(images={}, state=LOW.astype(np.float32), instruction="all", time_s=500.0)
    held = long.infer(after, "panda")
    np.testing.assert_allclose(held.values, np.tile(hold_action(CARD, after.state), (len(held.values), 1)))
    assert len(policy.told) == asked


def test_what_is_not_done_is_tried_again_in_other_words() -> None:
    long, policy = _long(Steps(["one", "two"]), done_from=2, try_s=2.0)
    _play(long)
    assert [(one.step, one.number, one.done) for one in long.report.tried] == [
        ("one", 1, False), ("one", 2, True), ("two", 1, False), ("two", 2, True)
    ]  # fmt: skip
    assert "one (2)" in policy.told
    assert long.report.claims_success


def test_tries_plans_and_seconds_are_bounded() -> None:
    planner = Steps(["never"])
    long, _ = _long(planner, try_s=2.0, tries=2, plans=3)
    _play(long)
    assert (len(long.report.tried), planner.asked) == (6, 3)
    assert not long.report.claims_success
    assert "asked 3 times" in long.report.cause
    long, _ = _long(Steps(["never"]), try_s=50.0, total_s=20.0)
    assert _play(long) == pytest.approx(20.4, abs=0.5)
    assert "budget of 20 s" in long.report.cause


def test_the_planner_is_asked_for_another_way() -> None:
    long, _ = _long(Steps(["never", "one"], ["two"]), try_s=2.0, tries=1)
    _play(long)
    assert [one.step for one in long.report.tried] == ["never", "two"]
    assert long.report.claims_success


@pytest.mark.parametrize("plan", [["one", "fly"], ["fly"]])
def test_a_step_that_the_policy_cannot_do_is_refused_before_anything_moves(plan: list[str]) -> None:
    long, policy = _long(Steps(plan))
    _play(long)
    assert "fly" in long.report.error
    assert not policy.told
    assert not long.report.claims_success


def test_a_planner_that_fails_holds_the_body() -> None:
    class Broken:
        def plan(self, *_: object) -> Sequence[str]:
            raise KinemaError("the planner at http://x: status 500")

    policy = Listener()
    long = LongTaskPolicy(policy, Broken(), After(policy), Language())
    _play(long)
    assert "http://x" in long.report.error
    assert not policy.told


def test_what_did_not_last_is_done_again() -> None:
    class Once(After):
        """When all has been done "one" is found undone, once."""

        undone = False

        def chance(self, observation: Observation, step: str) -> float:
            if step == "one" and "two" in self._policy.told and not self.undone:
                self.undone = True
                return 0.0
            return super().chance(observation, step)

    policy = Listener()
    long = LongTaskPolicy(policy, Steps(["one", "two"]), Once(policy), Language())
    _play(long)
    assert [one.step for one in long.report.tried] == ["one", "two", "one"]
    assert long.report.claims_success


def test_without_a_check_every_step_has_its_time_and_no_more() -> None:
    long = LongTaskPolicy(
        Listener(), Steps(["one", "two"]), None, Language(), budget=Budget(try_s=3.0, tries=1)
    )
    _play(long)
    assert [one.chance for one in long.report.tried] == [None, None]
    for one in long.report.tried:
        assert one.ended_s - one.began_s < 3.0 + 3.0


def test_the_way_back_opens_the_hand_then_rises_then_goes() -> None:
    seen = Observation(images={}, state=LOW.astype(np.float32), instruction="", time_s=2.0)
    way = way_back(CARD, seen, HOME)
    here = hold_action(CARD, seen.state)
    steps = np.abs(np.diff(np.vstack([here, way.values]), axis=0))
    assert steps[:, :3].max() <= 0.035 + 1e-9
    assert steps[:, 3:6].max() <= 0.15 + 1e-9
    np.testing.assert_allclose(way.values[-1], HOME)
    rising = np.flatnonzero(steps[:, 2] > 0)[0]
    np.testing.assert_allclose(way.values[rising - 1], [*here[:6], HOME[6]])  # open, where it was
    risen = way.values[:, 2] >= HOME[2] - 1e-9
    np.testing.assert_allclose(way.values[risen][0, :2], here[:2])  # no way sideways before
    assert way.times_s[0] == pytest.approx(2.0 + 1 / CARD.control_hz)


def test_the_way_back_from_the_start_stays_there() -> None:
    seen = Observation(images={}, state=HOME.astype(np.float32), instruction="", time_s=0.0)
    values = way_back(CARD, seen, HOME).values
    np.testing.assert_allclose(values, np.tile(HOME, (len(values), 1)), atol=1e-6)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(KinemaError, match="above 0"):
        Budget(tries=0)
