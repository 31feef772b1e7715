"""lerobot's followers through the shipped adapter: units, first motion, torque, failed reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot_stand_in import MOTORS, Config, StandIn, TwoArms, ViperX, calibrations

from kinema.card.load import load_card
from kinema.runtime.clock import SimulatedClock
from kinema.runtime.inference import SimulatedInference
from kinema.runtime.lerobot_robots import LerobotRobot
from kinema.runtime.loop import ControlLoop
from kinema.runtime.policy import HoldPolicy
from kinema.runtime.record import Log
from kinema.runtime.robot import Body, read_once
from kinema.runtime.strategy import strategy
from kinema.runtime.wiring import Line, Plan, wiring_for
from kinema.runtime.wiring_file import read_wiring
from kinema.runtime.wiring_guess import first_wiring
from kinema.schema import KinemaError

SO101 = load_card("so101")
MODES = [pytest.param(True, id="degrees"), pytest.param(False, id="m100")]
LARGEST_FIRST_MOTION = 0.01  # of a joint's range


def random_ticks(seed: int) -> dict[str, int]:
    """A pose within the card's ranges, somewhere in 90 % of them, in ticks."""
    rng = np.random.default_rng(seed)
    limits = calibrations()
    ticks = {}
    for channel, motor in zip(SO101.states, MOTORS):
        low, high = channel.range
        value = low + (high - low) * rng.uniform(0.05, 0.95)
        c = limits[motor]
        if motor == "gripper":
            ticks[motor] = int(c.range_min + value * (c.range_max - c.range_min))
        else:
            ticks[motor] = int((c.range_min + c.range_max) / 2 + value * 4095 / (2 * np.pi))
    return ticks


def first_motion(robot: Any, now: Callable[[], dict[str, int]], steps: int = 5) -> float:
    """The largest motion of a joint while a policy does nothing, as a share of its range, by its ticks."""
    before = dict(now())
    with Body(SO101, robot) as body:
        log, clock = Log(), SimulatedClock()
        inference = SimulatedInference(HoldPolicy(SO101), lambda _: 0.0)
        ControlLoop(body, inference, clock, strategy("blend", SO101), recorder=log).run("x", max_steps=steps)
        after = now()
    limits = calibrations()
    return max(abs(after[m] - before[m]) / (limits[m].range_max - limits[m].range_min) for m in MOTORS)


@pytest.mark.parametrize("use_degrees", MODES)
def test_ten_random_starts_move_less_than_one_per_cent(use_degrees: bool) -> None:
    largest = 0.0
    for seed in range(10):
        inner = StandIn(random_ticks(seed), Config(use_degrees=use_degrees))
        largest = max(largest, first_motion(LerobotRobot(inner), inner.now))
        assert inner.goals, "it was driven"
    assert largest <= LARGEST_FIRST_MOTION, f"largest first motion {largest:.2%}"


@pytest.mark.parametrize("use_degrees", MODES)
@pytest.mark.parametrize("drive_mode", [0, 1])
def test_an_arm_that_is_told_to_stay_does_not_creep(use_degrees: bool, drive_mode: int) -> None:
    limits = calibrations()
    for each in limits.values():
        each.drive_mode = drive_mode
    for seed in range(3):
        inner = StandIn(random_ticks(seed), Config(use_degrees=use_degrees), limits)
        before = dict(inner.ticks)
        with Body(SO101, LerobotRobot(inner)) as body:
            for _ in range(100):
                stay = body.observe("", 0.0).state
                np.testing.assert_allclose(body.send(stay.astype(float)), stay, atol=1e-6)
        assert inner.ticks == before


@pytest.mark.parametrize("use_degrees", MODES)
def test_what_is_read_is_what_the_servos_stand_at(use_degrees: bool) -> None:
    inner = StandIn(random_ticks(3), Config(use_degrees=use_degrees))
    limits = calibrations()
    with Body(SO101, LerobotRobot(inner)) as body:
        state = body.observe("", 0.0).state
        taken = body.send(state.astype(float))
    for value, motor in zip(state, MOTORS):
        c, ticks = limits[motor], random_ticks(3)[motor]
        if motor == "gripper":
            assert value == pytest.approx((ticks - c.range_min) / (c.range_max - c.range_min), abs=1e-3)
        else:
            assert value == pytest.approx(
                (ticks - (c.range_min + c.range_max) / 2) * 2 * np.pi / 4095, abs=2e-3
            )
    np.testing.assert_allclose(taken, state, atol=1e-6)


def test_a_robot_handed_over_as_it_is_does_not_begin_without_units() -> None:
    inner = StandIn(random_ticks(0))
    with pytest.raises(KinemaError, match=r"'shoulder_pan\.pos'.*unit: deg.*kinema robots wiring"):
        Body(SO101, inner)  # type: ignore[arg-type]
    assert not inner.goals


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_torque_at_the_end_is_the_cards(keep: bool, wrapped: bool) -> None:
    card = with_torque(keep)
    inner = StandIn(random_ticks(0))
    units = {c.name: Line(unit="percent" if c.name == "gripper" else "deg") for c in SO101.states}
    robot: Any = LerobotRobot(inner) if wrapped else inner
    with Body(card, robot, wiring_for(card, robot, Plan(channels=units))):
        assert inner.is_connected
    assert not inner.is_connected
    assert inner.torque is keep


def with_torque(keep: bool) -> Any:
    hold = SO101.hold.model_copy(update={"torque_on_exit": "hold" if keep else "off"})
    return SO101.model_copy(update={"hold": hold})


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionError("Failed to sync read 'Present_Position' on ids=[1, 2, 3, 4, 5, 6] after 1 tries."),
        TimeoutError("OpenCVCamera(0) latest frame is too old: 612.0 ms (max allowed: 500 ms)."),
        RuntimeError("OpenCVCamera(0) read thread is not running."),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_failed_read_is_an_oserror_and_the_next_one_is_right(fault: Exception) -> None:
    inner = StandIn(random_ticks(0))
    inner.failures = [fault]
    with Body(SO101, LerobotRobot(inner)) as body:  # the first reading of a run may fail too
        inner.failures = [fault]
        with pytest.raises(OSError, match=r"sync read|too old|not running"):
            body.observe("", 0.0)
        body.observe("", 0.0)


def test_it_never_calibrates_and_refuses_motors_with_another_calibration() -> None:
    inner = StandIn(random_ticks(0))
    inner.is_calibrated = False
    with pytest.raises(KinemaError, match=r"another calibration.*lerobot-calibrate"):
        Body(SO101, LerobotRobot(inner)).__enter__()
    assert not inner.is_connected
    assert inner.torque
    with pytest.raises(KinemaError, match=r"no calibration file so_follower/my_arm\.json"):
        LerobotRobot(StandIn(random_ticks(0), calibration={}))


def test_motors_that_count_backwards_stay_where_they_are() -> None:
    limits = calibrations()
    for each in limits.values():
        each.drive_mode = 1
    for use_degrees in (True, False):
        inner = StandIn(random_ticks(1), Config(use_degrees=use_degrees), limits)
        before = dict(inner.ticks)
        with Body(SO101, LerobotRobot(inner)) as body:
            seen = body.observe("", 0.0).state
        assert all(abs(inner.ticks[m] - before[m]) <= 1 for m in MOTORS)
        mid = [(limits[m].range_min + limits[m].range_max) / 2 for m in MOTORS]
        expected = [(before[m] - mid[i]) * 2 * np.pi / 4095 for i, m in enumerate(MOTORS[:5])]
        np.testing.assert_allclose(seen[:5], expected, atol=2e-3)


@pytest.mark.parametrize("body", ["viperx", "aloha"])
def test_arms_with_second_motors_are_wired_and_stay(tmp_path: Path, body: str) -> None:
    card = load_card(body)
    arms = [ViperX(0.55, card.camera_names if body == "viperx" else ()), ViperX(0.6)]
    robot = LerobotRobot(arms[0] if body == "viperx" else TwoArms(*arms, cameras=card.camera_names))
    with pytest.raises(KinemaError, match=r"wants commands for .*shoulder_shadow\.pos"):
        wiring_for(card, robot)
    path = tmp_path / "wiring.yaml"
    path.write_text(first_wiring(card, robot, read_once(card, robot)))
    before = [arm.now() for arm in arms]
    with Body(card, robot, wiring_for(card, robot, read_wiring(path, card))) as body_:
        state = body_.observe("", 0.0).state
        body_.send(state.astype(float))
    moved = [abs(arm.ticks[n] - was) for arm, ticks in zip(arms, before) for n, was in ticks.items()]
    assert max(moved) <= 1, "a second motor has the angle of the first, and a middle of its own"
    assert set(arms[0].goals[-1]) == set(ViperX.JOINTS)
    turn = (3300 - 700) / 2 * 2 * np.pi / 4095
    assert state[0] == pytest.approx(0.1 * turn, abs=2e-3), "an angle from the middle of the calibrated range"


def test_two_arms_have_their_keys_units_and_torque() -> None:
    arms = [StandIn(random_ticks(s), Config(cameras=("wrist",))) for s in (0, 1)]
    robot = LerobotRobot(TwoArms(*arms, cameras=("top",)))
    assert {robot.units[f"{side}_{m}.pos"].name for side in ("left", "right") for m in MOTORS[:5]} == {"deg"}
    assert robot.units["left_gripper.pos"].name == robot.units["right_gripper.pos"].name == "percent"
    card = load_card("aloha")  # the names of another maker's joints: a wiring file says which is which
    joints = dict(zip(("waist", "shoulder", "elbow", "wrist_angle", "wrist_rotate", "gripper"), MOTORS))
    channels = {
        f"{side}_{name}": Line(key=f"{side}_{motor}.pos")
        for side in ("left", "right")
        for name, motor in joints.items()
    }
    with pytest.raises(KinemaError, match="'left_forearm_roll'"):
        wiring_for(card, robot, Plan(channels=channels))
    robot.keep_torque = True
    robot.connect()
    robot.disconnect()
    assert arms[0].torque
    assert arms[1].torque
