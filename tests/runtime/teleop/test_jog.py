"""A target moved by hand goes where it is told, and back again."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import arm_of, home_joints, tool_pose
from kinema.card.load import card_names, load_card, vehicle_names
from kinema.runtime.teleop.intent import Intent
from kinema.runtime.teleop.jog import Jog, Speeds
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

BY_JOINTS = [name for name in card_names() if load_card(name).control == "joint_position"]
BY_POSE = [name for name in card_names() if load_card(name).control == "ee_pose"]
SPEEDS = Speeds(linear_m_s=0.05, angular_rad_s=0.3)


def middle_state(card: EmbodimentCard) -> np.ndarray:
    """At home, hands half open, all else in the middle."""
    state = np.array([np.mean(channel.range) for channel in card.states])
    for i, channel in enumerate(card.states):
        for arm in card.arms:
            homes = {f"{arm.side}.joint.{k}": q for k, q in enumerate(home_joints(arm))}
            state[i] = homes.get(channel.slot, state[i])
    return state


def joints_in(card: EmbodimentCard, values: np.ndarray, side: str) -> np.ndarray:
    columns = [i for i, c in enumerate(card.actions) if c.slot.startswith(f"{side}.joint.")]
    return values[columns]


@pytest.mark.parametrize("name", BY_JOINTS)
def test_a_tool_moves_as_it_is_told_and_comes_back(name: str) -> None:
    """Joints that follow the target at once: a few steps up, then the same down."""
    card = load_card(name)
    jog = Jog(card, SPEEDS)
    assert jog.side is not None
    arm, state = arm_of(card, jog.side), middle_state(card)
    slots = [channel.slot for channel in card.states]
    places = [slots.index(channel.slot) for channel in card.actions]
    jog.anchor(state)
    begun = tool_pose(arm, home_joints(arm))[:3, 3]
    seen = []
    for way in (1.0, -1.0):
        for _ in range(5):
            action = jog.move(Intent(twist=np.array([0, 0, way, 0, 0, 0])), state)
            state[places] = action
        seen.append(tool_pose(arm, joints_in(card, action, jog.side))[:3, 3])
    asked_m = 5 * SPEEDS.linear_m_s / card.control_hz
    assert 0.5 * asked_m < seen[0][2] - begun[2] < 1.1 * asked_m  # damping gives away a part near a limit
    assert np.abs(seen[0][:2] - begun[:2]).max() < 0.5 * asked_m
    np.testing.assert_allclose(seen[1], begun, atol=0.35 * asked_m)


@pytest.mark.parametrize("name", BY_POSE)
def test_a_pose_is_added_to_and_a_turn_composes(name: str) -> None:
    card = load_card(name)
    jog, state = Jog(card, SPEEDS), middle_state(card)
    slots = {channel.slot: i for i, channel in enumerate(card.actions)}
    turned = [slots[f"{jog.side}.rot.{i}"] for i in range(3)]
    jog.anchor(state)
    before = jog.move(Intent(), state)
    twist = np.array([1.0, 0, 0, 0, 0, 1.0])
    after = jog.move(Intent(twist=twist), state)
    assert after[slots[f"{jog.side}.ee.x"]] - before[slots[f"{jog.side}.ee.x"]] == pytest.approx(
        SPEEDS.linear_m_s / card.control_hz
    )
    R = matrix_from_rotvec(after[turned]) @ matrix_from_rotvec(before[turned]).T
    np.testing.assert_allclose(
        rotvec_from_matrix(R), [0, 0, SPEEDS.angular_rad_s / card.control_hz], atol=1e-9
    )
    back = jog.move(Intent(twist=-twist), state)
    np.testing.assert_allclose(back, before, atol=1e-9)


@pytest.mark.parametrize("name", [*card_names(), *vehicle_names()])
def test_whatever_is_asked_lies_in_the_cards_ranges_and_nothing_asked_keeps_still(name: str) -> None:
    card = load_card(name)
    try:
        jog = Jog(card, Speeds(linear_m_s=1.0, angular_rad_s=6.0, hand_hz=5.0))
    except KinemaError as error:
        assert card.control in str(error)  # noqa: PT017 (the card decides which it is)
        return
    state = middle_state(card)
    jog.anchor(state)
    rest = jog.move(Intent(), state)
    np.testing.assert_array_equal(jog.move(Intent(), state), rest)
    rng = np.random.default_rng(0)
    low, high = np.array([channel.range for channel in card.actions]).T
    for _ in range(30):
        intent = Intent(twist=rng.uniform(-3, 3, 6), grip=float(rng.uniform(-3, 3)))
        action = jog.move(intent, state)
        assert np.isfinite(action).all()
        assert (action >= low).all()
        assert (action <= high).all()


def test_a_displacement_ends_when_the_stick_is_let_go() -> None:
    card = load_card("widowx_simpler")
    jog, state = Jog(card, SPEEDS), middle_state(card)
    jog.anchor(state)
    moving = jog.move(Intent(twist=np.array([1.0, 0, 0, 0, 0, 0])), state)
    assert moving[0] * (card.actions[0].step or 1.0) == pytest.approx(SPEEDS.linear_m_s / card.control_hz)
    assert jog.move(Intent(), state)[0] == 0.0


def test_opening_opens_whatever_end_of_the_range_that_is() -> None:
    for name in ("panda", "so101", "widowx_simpler"):
        card = load_card(name)
        i = next(i for i, c in enumerate(card.actions) if c.slot.endswith(".gripper"))
        jog, state = Jog(card, SPEEDS), middle_state(card)
        jog.anchor(state)
        before = card.actions[i].opening(jog.move(Intent(), state)[i])
        after = card.actions[i].opening(jog.move(Intent(grip=1.0), state)[i])
        assert after > before


def test_the_other_arm_moves_after_it_was_said_and_the_first_keeps_still() -> None:
    card = load_card("aloha")
    jog, state = Jog(card, SPEEDS), middle_state(card)
    jog.anchor(state)
    up = Intent(twist=np.array([0, 0, 1.0, 0, 0, 0]))
    rest, first = jog.move(Intent(), state), jog.move(up, state)
    jog.other_arm()
    second = jog.move(up, state)
    moved = [
        {c.slot.split(".")[0] for c, d in zip(card.actions, delta) if d}
        for delta in (first - rest, second - first)
    ]
    assert moved == [{"right"}, {"left"}]


def test_an_arm_that_is_not_there_is_named() -> None:
    with pytest.raises(KinemaError, match="panda has no left arm; it has right"):
        Jog(load_card("panda"), side="left")
