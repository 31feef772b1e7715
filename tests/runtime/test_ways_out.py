"""Whatever ends a run, and whatever fails while it lasts: the body is told to hold, and at the end again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_body import AnyRobot, Rig, rig_of

from kinema.card.load import card_names, load_card, vehicle_names
from kinema.runtime.policy import hold_action
from kinema.runtime.watchdog import Mode
from kinema.schema import KinemaError
from laws import examples

DRIVEN = [name for name in card_names() if load_card(name).control in ("ee_pose", "joint_position")]
BODIES = [*DRIVEN, *vehicle_names()]


class UnpluggedError(Exception):
    """Something that nobody expects."""


def on_its_way(body: str) -> tuple[Rig, AnyRobot]:
    """A rig that has moved its body for eight steps."""
    rig = rig_of(load_card(body))
    rig.loop.begin("move")
    for _ in range(8):
        rig.loop.step()
        rig.loop.wait()
    return rig, rig.robot


def assert_held(rig: Rig, robot: AnyRobot, start: int) -> None:
    """From the command `start` on the body braked at its card's acceleration and stands."""
    card = rig.loop.card
    assert len(robot.told) > start
    if card.hold.action == "zero":
        np.testing.assert_array_equal(robot.told[-1], np.zeros(len(card.actions)))
        return
    guard = rig.loop.guard
    assert guard.at_rest
    np.testing.assert_array_equal(robot.told[-1], guard._last)
    period_s, gaps_s = rig.loop.period_s, np.diff(robot.told_s)
    for motion in guard.limits.motions:
        steps = [motion.joints_per @ motion.between(a, b) for a, b in zip(robot.told, robot.told[1:])]
        for i in range(len(steps) - 1):
            if np.allclose(gaps_s[i : i + 2], period_s):
                change = np.abs(steps[i + 1] - steps[i]) / period_s**2
                assert (change <= motion.acceleration * (1 + 1e-4) + 1e-3).all()


@pytest.mark.parametrize("body", BODIES)
def test_the_end_of_time_is_a_way_out(body: str) -> None:
    rig = rig_of(load_card(body))
    assert rig.run(12) == Mode.RUNNING
    assert_held(rig, rig.robot, 13)


@pytest.mark.parametrize(
    ("body", "error", "where"),
    [(body, KeyboardInterrupt, "observe") for body in BODIES]
    + [
        (body, error, where)
        for body in ("so101", "panda", "car")
        for error in (UnpluggedError, SystemExit, ZeroDivisionError)
        for where in ("observe", "recorder", "done")
    ],
)
def test_whatever_is_raised_the_hold_action_is_sent_and_the_error_is_told(
    body: str, error: type[BaseException], where: str
) -> None:
    rig = rig_of(load_card(body))
    calls = 0

    def fail(*_: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls >= 9:
            raise error("here")
        return False

    if where == "observe":
        rig.robot.before_reading = fail
    elif where == "recorder":
        rig.loop._recorder = fail
    with pytest.raises(error, match="here"):
        rig.loop.run("move", max_steps=50, done=fail if where == "done" else lambda: False)
    assert_held(rig, rig.robot, 8)


@pytest.mark.parametrize("body", ["so101", "car"])
def test_an_error_is_told_though_the_hold_action_cannot_be_sent(body: str) -> None:
    rig = rig_of(load_card(body))

    def pull_the_plug() -> None:
        if len(rig.robot.told) > 5:
            rig.robot.before_sending = lambda: (_ for _ in ()).throw(UnpluggedError("and there"))
            raise UnpluggedError("here")

    rig.robot.before_reading = pull_the_plug
    with pytest.raises(UnpluggedError, match="here") as told:
        rig.run(20)
    assert "and there" in told.value.__notes__[0]


@pytest.mark.parametrize("body", BODIES)
def test_the_step_that_stops_sends_the_hold_action_and_then_nothing(body: str) -> None:
    rig, robot = on_its_way(body)
    rig.clock.jump(1.0)  # longer than any card's stop_after_s
    before = len(robot.told)
    step = rig.loop.step()
    assert step.mode == Mode.STOPPED
    assert step.sent is not None
    for _ in range(30):
        rig.loop.wait()
        rig.loop.step()
    assert_held(rig, robot, before)
    count = len(robot.told)
    rig.loop.wait()
    assert rig.loop.step().sent is None
    assert len(robot.told) == count


FAILURES: list[Callable[[], None]] = []
for raised in (ConnectionError, TimeoutError, OSError, KinemaError):

    def _raise(kind: type[Exception] = raised) -> None:
        raise kind("no status packet")

    FAILURES.append(_raise)


@given(
    which=st.sampled_from(BODIES),
    failure=st.sampled_from(FAILURES),
    failed=st.lists(st.booleans(), min_size=1, max_size=25),
)
@examples(12)
def test_a_failed_reading_is_a_missing_observation_and_enough_of_them_a_stop(
    which: str, failure: Callable[[], None], failed: list[bool]
) -> None:
    rig, robot = on_its_way(which)
    stop_after = round(rig.loop.card.hold.stop_after_s / rig.loop.period_s)
    in_a_row, missing = 0, 0
    for fails in failed:
        robot.before_reading = failure if fails else lambda: None
        before, in_a_row = in_a_row, in_a_row + 1 if fails else 0
        missing += fails
        step = rig.loop.step()
        assert rig.loop.counts.missing == missing
        assert step.seen is not fails
        if in_a_row >= stop_after:
            assert step.mode == Mode.STOPPED
            assert "no status packet" in step.reason
        if step.mode == Mode.STOPPED:
            assert before + 1 >= stop_after  # since the last fresh action
            return
        if fails:
            assert step.mode == Mode.HOLDING
            assert step.asked is None
        rig.loop.wait()


def test_a_body_that_is_never_seen_is_stopped_though_it_waits() -> None:
    rig = rig_of(load_card("so101"), latency_s=float("inf"))
    rig.loop.begin("move")
    rig.robot.before_reading = FAILURES[0]
    modes = []
    for _ in range(7):
        modes.append(rig.loop.step().mode)
        rig.loop.wait()
    assert modes == [Mode.WAITING] * 5 + [Mode.STOPPED] * 2


def test_one_bad_reading_before_the_run_is_tried_again_and_many_are_told() -> None:
    rig = rig_of(load_card("so101"))
    left = 2

    def fail() -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            FAILURES[0]()

    rig.robot.before_reading = fail
    assert rig.run(5) == Mode.RUNNING
    left = 100
    with pytest.raises(KinemaError, match=r"so101 cannot be read: no status packet"):
        rig.run(5)


def test_a_command_that_is_not_taken_is_a_hold_and_many_are_a_stop() -> None:
    rig, robot = on_its_way("so101")
    robot.before_sending = FAILURES[0]
    assert rig.loop.step().sent is None
    robot.before_sending = lambda: None
    rig.loop.wait()
    assert rig.loop.step().mode == Mode.HOLDING
    rig.loop.wait()
    assert rig.loop.step().mode == Mode.RUNNING
    robot.before_sending = FAILURES[0]
    for _ in range(7):
        rig.loop.wait()
        step = rig.loop.step()
    assert step.mode == Mode.STOPPED
    assert "takes no command: no status packet" in step.reason


def test_a_state_that_is_not_finite_is_a_hold_and_stops() -> None:
    rig, robot = on_its_way("so101")
    robot.state = np.full_like(robot.state, np.nan)
    robot.obeys = False
    start = len(robot.told)
    modes = []
    for _ in range(7):
        step = rig.loop.step()
        modes.append(step.mode)
        rig.loop.wait()
    assert modes == [Mode.HOLDING] * 4 + [Mode.STOPPED] * 3
    assert "the measured state is not finite" in step.reason
    assert_held(rig, robot, start)


def test_a_clock_that_does_not_work_moves_nothing_and_stops() -> None:
    rig, robot = on_its_way("so101")
    last = robot.told[-1]
    rig.loop.clock = rig.loop.sender._clock = BrokenClock()
    modes = [rig.loop.step().mode for _ in range(7)]
    assert Mode.RUNNING not in modes
    assert modes[-1] == Mode.STOPPED
    np.testing.assert_allclose(robot.told[-1], last)


class BrokenClock:
    def now_s(self) -> float:
        return float("nan")

    def sleep_until(self, time_s: float) -> None: ...


@pytest.mark.parametrize("body", BODIES)
@given(seed=st.integers(0, 2**32 - 1))
@examples(5)
def test_the_first_command_is_the_measured_state(body: str, seed: int) -> None:
    card = load_card(body)
    rig = rig_of(card)
    rng = np.random.default_rng(seed)
    low, high = np.array([channel.range for channel in card.states]).T
    rig.robot.state = rng.uniform(low, high)
    rig.run(1)
    measured = np.asarray(rig.robot.seen_first, np.float32).astype(float)
    np.testing.assert_allclose(rig.robot.told[0], hold_action(card, measured), rtol=1e-6, atol=1e-7)
