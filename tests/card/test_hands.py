"""A body with hands and no gripper: its card, its channels, and who does not take it."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.card import EmbodimentCard
from kinema.card.check import expected_slots
from kinema.card.kinematics import gripper_of
from kinema.card.load import CardError, load_card, parse_card
from kinema.commands.policies import tabletop_bodies
from kinema.model.gate.commanded_path import PathReader
from kinema.runtime.guard import Guard
from kinema.schema import KinemaError
from kinema.worlds.body.control import Controller, Kinematics
from kinema.worlds.tabletop.env import families_for
from laws import examples

G1 = load_card("g1")
HAND = {"values": ["thumb", "fingers"], "speed": 2.0, "source": "made for this test"}


def parsed(arm: dict[str, Any]) -> EmbodimentCard:
    """The Panda's card with this changed in its arm."""
    tree = load_card("panda").model_dump(mode="json", exclude_none=True)
    tree["arms"][0] |= arm
    tree["arms"][0] = {key: value for key, value in tree["arms"][0].items() if value is not None}
    return parse_card(yaml.safe_dump(tree, sort_keys=False).encode(), "made.yaml")


@pytest.mark.parametrize("arm", [{"hand": HAND}, {"gripper": None}])
def test_an_arm_ends_in_a_gripper_or_in_a_hand(arm: dict[str, Any]) -> None:
    with pytest.raises(CardError, match="right arm ends in a gripper or in a hand; give one of the two"):
        parsed(arm)


def test_a_hands_values_take_the_grippers_place() -> None:
    slots = expected_slots(G1)
    assert [channel.slot for channel in G1.actions] == slots
    assert sum(".hand." in slot for slot in slots) == 12
    assert not any("gripper" in slot for slot in slots)
    with pytest.raises(ValueError, match="left arm ends in a hand"):
        gripper_of(G1.arms[0])


def test_what_is_made_for_grippers_does_not_take_it() -> None:
    assert families_for(G1) == ()
    assert "g1" not in tabletop_bodies()
    robot = Kinematics(G1).robot
    with pytest.raises(KinemaError, match="'g1' has hands"):
        Controller(robot, robot.model, mujoco.MjData(robot.model))
    with pytest.raises(KinemaError, match="'g1' has hands"):
        PathReader(G1)


@given(st.lists(st.floats(-0.5, 1.5), min_size=26, max_size=26), st.floats(0.001, 0.1))
@examples(30)
def test_the_guard_keeps_hands_to_their_range_and_speed(asked: list[float], elapsed_s: float) -> None:
    guard, hand = Guard(G1), np.array([".hand." in channel.slot for channel in G1.actions])
    state = np.where(hand, 0.5, [joint for arm in G1.arms for joint in (*_home(arm), *[0.0] * 6)])
    guard.anchor(state)
    first = guard.check(None, now_s=0.0, state=state).action
    wanted = np.where(hand, asked, first)
    found = guard.check(wanted, now_s=elapsed_s, state=state)
    reach = G1.arms[0].hand.speed * min(elapsed_s, 1 / G1.control_hz)
    nearest = first + np.clip(np.clip(wanted, 0, 1) - first, -reach, reach)
    np.testing.assert_allclose(found.action[hand], nearest[hand], atol=1e-9)
    np.testing.assert_allclose(found.action[~hand], first[~hand], atol=1e-9)
    slowed = np.abs(np.clip(wanted, 0, 1) - first)[hand].max() > reach + 1e-9
    assert any("beyond its speed" in change for change in found.changes) == slowed


def _home(arm: Any) -> list[float]:
    return [joint.home for joint in arm.joints]
