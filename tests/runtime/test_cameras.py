"""A camera that has stopped is noticed; a scene in which nothing moves is not taken for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_body import rig_of

from kinema.card.load import card_names, load_card
from kinema.runtime.cameras import PICTURE_TIMES, StillCameras
from kinema.runtime.watchdog import Mode
from kinema.schema import Observation

CARD = load_card("so101")
SPAN = CARD.states[0].range[1] - CARD.states[0].range[0]


def seen(
    picture: int, place: float, *, stamps: list[float] | None = None, gripper: float = 1.0
) -> Observation:
    images = {name: np.full((16, 16, 3), picture, np.uint8) for name in CARD.camera_names}
    state = np.array([place, 0, 0, 0, 0, gripper], np.float32)
    sensors = {} if stamps is None else {PICTURE_TIMES: np.array(stamps)}
    return Observation(images=images, state=state, instruction="move", time_s=0.0, sensors=sensors)


@given(moves=st.lists(st.floats(-0.01, 0.01), min_size=30, max_size=60))
def test_a_still_scene_is_no_fault_while_the_body_stands(moves: list[float]) -> None:
    cameras = StillCameras(CARD)
    for k, noise in enumerate(moves):
        assert cameras.stopped(seen(7, noise * SPAN), k * 0.1) == ""


@given(speed=st.floats(0.06, 1.0), hz=st.sampled_from([5.0, 10.0, 50.0]))
def test_the_same_picture_of_a_body_that_moves_is_a_fault_after_the_cards_time(
    speed: float, hz: float
) -> None:
    cameras = StillCameras(CARD)
    found_s = None
    for k in range(int(3 * hz)):
        now_s = k / hz
        said = cameras.stopped(seen(7, speed * SPAN * now_s), now_s)
        if said and found_s is None:
            found_s = now_s
            assert "wrist" in said
    assert found_s is not None
    assert 1.0 < found_s <= 1.0 + 1.0 / hz + 1e-9
    assert cameras.stopped(seen(8, 0.0), 10.0) == "", "a new picture ends it"


def test_new_pictures_are_no_fault_however_the_body_moves() -> None:
    cameras = StillCameras(CARD)
    for k in range(100):
        assert cameras.stopped(seen(k % 2, 0.3 * k), k * 0.1) == ""


def test_a_gripper_may_move_unseen() -> None:
    cameras = StillCameras(CARD)
    for k in range(100):
        assert cameras.stopped(seen(7, 0.0, gripper=float(k % 2)), k * 0.1) == ""


def test_the_drivers_own_times_count_for_a_body_that_stands_and_for_equal_pictures() -> None:
    cameras, told = StillCameras(CARD), []
    for k in range(40):
        told.append(cameras.stopped(seen(7, 0.3 * k, stamps=[0.1 * k, min(0.1 * k, 1.0)]), k * 0.1))
    assert all(not said for said in told[:21])
    assert all("camera wrist" in said for said in told[22:])


def test_a_buffer_that_a_driver_uses_again_is_not_one_picture() -> None:
    cameras = StillCameras(CARD)
    image = np.zeros((16, 16, 3), np.uint8)
    for k in range(40):
        image[:] = k
        one = seen(0, 0.3 * k)
        reused = Observation(
            images=dict.fromkeys(CARD.camera_names, image), state=one.state, instruction="", time_s=0.0
        )
        assert cameras.stopped(reused, k * 0.1) == ""


@pytest.mark.parametrize(
    "body", [n for n in card_names() if load_card(n).control in ("ee_pose", "joint_position")]
)
def test_a_loop_whose_camera_freezes_holds_and_stops_and_forgets_its_plan(body: str) -> None:
    card = load_card(body)
    rig = rig_of(card)
    rig.policy.share_s = 0.08
    rig.loop.begin("move")
    first = None
    frozen: dict[str, Any] = {}
    real = rig.robot.get_observation

    def freezing() -> dict[str, Any]:
        reading = real()
        return reading | frozen

    rig.robot.get_observation = freezing  # type: ignore[method-assign]
    for k in range(round(4 * card.control_hz)):
        if k == 5:
            frozen = {card.camera_names[0]: np.zeros((8, 8, 3), np.uint8)}
        step = rig.loop.step()
        if "same picture" in step.reason and first is None:
            first = k
            assert step.mode == Mode.HOLDING
            assert rig.loop.buffer.plan is None
        rig.loop.wait()
    assert first is not None
    assert step.mode == Mode.STOPPED
    asked = rig.loop.counts.asked
    rig.loop.step()
    assert rig.loop.counts.asked == asked


def test_what_a_robot_says_of_its_pictures_reaches_the_loop() -> None:
    rig = rig_of(CARD)
    rig.policy.share_s = 0.0  # it stands, so equal pictures alone would say nothing
    real, now_s = rig.robot.get_observation, rig.clock.now_s

    def stamped() -> dict[str, Any]:
        picture = np.zeros((16, 16, 3), np.uint8)
        taken = {"front.taken_s": now_s(), "wrist.taken_s": min(now_s(), 0.5)}
        return real() | dict.fromkeys(CARD.camera_names, picture) | taken

    rig.robot.get_observation = stamped  # type: ignore[method-assign]
    assert rig.run(60) == Mode.STOPPED
    assert "camera wrist delivers the same picture" in rig.loop.reason
    assert rig.clock.now_s() == pytest.approx(0.5 + 1.1 + CARD.hold.stop_after_s, abs=0.35)


def test_a_camera_that_an_arm_carries_is_not_judged_by_the_other_arm() -> None:
    card = load_card("aloha")
    cameras = StillCameras(card)
    images = {name: np.zeros((16, 16, 3), np.uint8) for name in card.camera_names}
    for k in range(50):
        state = np.zeros(len(card.states), np.float32)
        state[0] = 0.1 * k  # of the left arm
        said = cameras.stopped(
            Observation(images=images, state=state, instruction="", time_s=0.1 * k), 0.1 * k
        )
        assert "wrist" not in said
    assert "front" in said, "one that sees both arms is"
