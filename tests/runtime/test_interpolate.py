"""Targets between control steps keep what the guard's actions keep, and come to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_body import rig_of

from kinds import one_of_each
from kinema.card.load import card_names, load_card
from kinema.runtime.interpolate import Interpolation
from kinema.runtime.limits import limits_of
from kinema.runtime.watchdog import Mode
from kinema.schema import KinemaError
from laws import examples

DRIVEN = [name for name in card_names() if load_card(name).control in ("ee_pose", "joint_position")]


def played(body: str, hz: float, steps: int, **options: Any) -> tuple[Any, np.ndarray]:
    rig = rig_of(load_card(body), command_hz=hz, **options)
    rig.run(steps)
    return rig, np.stack(rig.robot.told)


@pytest.mark.parametrize("body", one_of_each(DRIVEN))
def test_a_fast_driver_gets_targets_at_its_own_rate_that_keep_speed_and_acceleration(body: str) -> None:
    hz = 5 * load_card(body).control_hz
    rig, told = played(body, hz, 12)
    times_s = np.array(rig.robot.told_s)
    running = np.flatnonzero((times_s > 2.5 / hz) & (times_s < 57.5 / hz))
    np.testing.assert_allclose(np.diff(times_s[running]), 1 / hz, atol=1e-9)
    for motion in rig.loop.guard.limits.motions:
        steps = np.stack(
            [motion.joints_per @ motion.between(a, b) for a, b in zip(told[running], told[running[1:]])]
        )
        assert (np.abs(steps) * hz <= motion.speed * (1 + 1e-6) + 1e-5).all()
        changes = np.abs(np.diff(steps, axis=0)) * hz**2
        assert (changes <= motion.acceleration * (1 + 1e-4) + 1e-2).all()


@pytest.mark.parametrize("body", ["so101", "panda", "car"])
def test_the_last_command_is_the_guards_last_action(body: str) -> None:
    rig, told = played(body, 60.0, 9)
    assert rig.loop.guard.at_rest
    np.testing.assert_array_equal(told[-1], rig.loop.guard._last)
    for motion in rig.loop.guard.limits.motions:
        last = motion.joints_per @ motion.between(told[-2], told[-1])
        assert np.abs(last).max() < 1e-6, "there is no jump at the end"


@pytest.mark.parametrize("hz", [None, 1.0, 10.0])
def test_a_driver_that_takes_no_more_than_the_cards_rate_gets_the_guards_actions(hz: float | None) -> None:
    plain = rig_of(load_card("so101"))
    slow = rig_of(load_card("so101"), command_hz=hz)
    plain.run(12)
    slow.run(12)
    np.testing.assert_array_equal(np.stack(plain.robot.told), np.stack(slow.robot.told))


def test_the_robot_may_say_its_own_rate() -> None:
    rig = rig_of(load_card("so101"))
    rig.robot.command_hz = 30.0
    from kinema.runtime.loop import ControlLoop

    loop = ControlLoop(rig.loop.body, rig.loop._inference, rig.clock, rig.loop.strategy)
    loop.run("move", max_steps=10)
    assert len(rig.robot.told) >= 30


@pytest.mark.parametrize("hz", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(hz: float) -> None:
    with pytest.raises(KinemaError, match=r"command_hz"):
        Interpolation(load_card("so101"), hz)


def test_a_driver_that_fails_between_two_steps_is_held_and_stopped() -> None:
    rig = rig_of(load_card("so101"), command_hz=50.0)
    rig.loop.begin("move")
    for _ in range(5):
        rig.loop.step()
        rig.loop.wait()

    def fail() -> None:
        raise ConnectionError("bus")

    rig.robot.before_sending = fail
    modes = []
    for _ in range(8):
        rig.loop.wait()
        modes.append(rig.loop.step().mode)
    assert modes[-1] == Mode.STOPPED


@pytest.mark.parametrize("body", one_of_each(DRIVEN))
@given(data=st.data())
@examples(10)
def test_between_any_actions_it_stays_within_them_and_grips_at_once(body: str, data: Any) -> None:
    card = load_card(body)
    limits = limits_of(card)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    actions = rng.uniform(limits.low, limits.high, (5, len(limits.low)))
    rotations = [i for i, c in enumerate(card.actions) if ".rot." in c.slot]
    actions[:, rotations] *= 0.3
    between = Interpolation(card, card.control_hz * 7)
    between.anchor(actions[0])
    grippers = [i for i, c in enumerate(card.actions) if c.slot.endswith("gripper")]
    others = [i for i in range(len(card.actions)) if i not in (*grippers, *rotations)]
    before = actions[0]
    for k in range(1, 5):
        between.push(actions[k])
        for share in (np.arange(7) + 1) / 7:
            target = between.at(share)
            window = actions[max(k - 2, 0) : k + 1][:, others]
            assert (target[others] >= window.min(0) - 1e-9).all()
            assert (target[others] <= window.max(0) + 1e-9).all()
            np.testing.assert_array_equal(target[grippers], actions[k][grippers])
        assert not np.array_equal(before, target)
        before = target
    for _ in range(2):
        between.push(actions[-1])
    assert between.at_rest
    np.testing.assert_allclose(between.at(0.5), actions[-1], atol=1e-9)
