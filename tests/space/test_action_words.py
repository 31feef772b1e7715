"""A reader of the words can say direction, amount and gripper, whatever body moved and however."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.load import card_names, load_card, vehicle_names
from kinema.space.action_words import read, say, tolerance, verb_of
from kinema.space.moved import Grip, Moved, moved_by, path_moved, tool_moved


def _agree(moved: Moved) -> None:
    heard = read(say(moved))
    for slot, amount in moved.amounts.items():
        within = tolerance(slot, moved.units.get(slot, ""))
        assert abs(heard.amount(slot) - amount) <= within * (1 + 1e-6), (slot, say(moved))
        if abs(amount) > within:
            assert np.sign(heard.amount(slot)) == np.sign(amount), (slot, say(moved))
            assert heard.units.get(slot, "") == moved.units.get(slot, "")
    assert set(heard.amounts) <= set(moved.amounts)
    assert set(heard.grips) == set(moved.grips)
    for side, grip in moved.grips.items():
        assert verb_of(heard.grips[side]) == verb_of(grip)
        assert abs(heard.grips[side].after - grip.after) <= tolerance(f"{side}.gripper") + 1e-9


@pytest.mark.parametrize("name", [*card_names(), *vehicle_names()])
@pytest.mark.parametrize("seed", range(8))
def test_the_words_of_every_bodys_actions_can_be_read_back(name: str, seed: int) -> None:
    card, rng = load_card(name), np.random.default_rng(seed)
    state = np.array([rng.uniform(*channel.range) for channel in card.states])
    actions = np.array([[rng.uniform(*channel.range) for channel in card.actions] for _ in range(5)])
    _agree(moved_by(card, actions, state))


AMOUNTS = st.floats(-3.0, 3.0, allow_nan=False)
SLOTS = [
    ("left.ee.x", ""), ("right.ee.y", ""), ("right.ee.z", ""), ("right.rot.0", ""), ("left.rot.1", ""),
    ("right.rot.2", ""), ("left.joint.0", ""), ("right.joint.6", "m"), ("right.hand.11", ""),
    ("base.waypoint.x", ""), ("base.waypoint.y", ""), ("base.waypoint.theta", ""), ("base.velocity.x", ""),
    ("base.velocity.y", ""), ("base.velocity.theta", ""), ("base.velocity.theta", "rad"),
    ("base.waist.2", ""), ("base.head.0", "m"),
]  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(SLOTS), AMOUNTS),
    st.dictionaries(st.sampled_from(["left", "right"]), st.tuples(st.floats(0, 1), st.floats(0, 1))),
)
def test_all_slots_that_have_words_can_be_said_together(
    amounts: dict[tuple[str, str], float], grips: dict[str, tuple[float, float]]
) -> None:
    _agree(
        Moved(
            amounts={slot: value for (slot, _), value in amounts.items()},
            units={slot: unit for slot, unit in amounts if unit},
            grips={side: Grip(before=before, after=after) for side, (before, after) in grips.items()},
        )
    )


def test_what_is_said_of_a_known_motion() -> None:
    card = load_card("panda")
    state = np.array([0.45, 0.0, 0.30, 0, 0, 0, 1.0])
    actions = np.array([[0.40, 0.02, 0.25, 0, 0, 0.0, 1.0], [0.33, 0.05, 0.10, 0, 0, 0.2, 0.0]])
    assert say(moved_by(card, actions, state)) == (
        "the right arm moves 12 cm backward, 5 cm left, 20 cm down, yaws 11 degrees left "
        "and closes its gripper from 100 to 0 percent"
    )


def test_joints_of_two_arms_are_told_apart_and_the_tool_follows_from_them() -> None:
    card = load_card("aloha")
    state = np.array([joint.home for joint in card.arms[0].joints] + [1.0] + [0.0] * 6 + [1.0])
    action = state + np.array([0.1, 0, 0, 0, 0, 0, -1.0, 0, -0.2, 0, 0, 0, 0, 0])
    said = say(moved_by(card, action[None], state))
    assert said.startswith("the left arm bends joint 1 by 6 degrees counter-clockwise and closes its gripper")
    assert (
        "the right arm bends joint 2 by 11 degrees clockwise and keeps its gripper 100 percent open" in said
    )
    tools = tool_moved(card, state, action, {})
    assert abs(tools.amount("right.ee.z")) > 0.02
    assert tools.amount("left.ee.z") == pytest.approx(0, abs=1e-6)
    _agree(tools)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(-3.1, 3.1), st.floats(-3.1, 3.1))
def test_a_path_on_the_ground_is_told_from_where_it_began(
    x: float, y: float, start: float, turn: float
) -> None:
    """Heading and distance lead from the first pose to the last one."""
    first = np.array([3.0, -2.0, start])
    last = np.array([x, y, start + turn])
    told = path_moved(first, last)
    _agree(told)
    along, left = told.amount("base.waypoint.x"), told.amount("base.waypoint.y")
    cosine, sine = np.cos(start), np.sin(start)
    back = first[:2] + np.array([cosine * along - sine * left, sine * along + cosine * left])
    np.testing.assert_allclose(back, last[:2], atol=1e-9)
    assert told.amount("base.waypoint.theta") == pytest.approx(turn)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("the third arm moves 3 cm up", "begins with none"),
        ("the right arm moves 3 cm sideways", "not understood"),
        ("the right arm moves 3 feet up", "not understood"),
        ("the right arm opens its gripper from 80 to 20 percent", "does not go 80 to 20"),
        ("", "begins with none"),
    ],
)
def test_words_that_say_nothing_clear_are_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        read(text)


def test_a_slot_without_words_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"base\.image\.u.*waypoint"):
        say(Moved(amounts={"base.image.u": 1.0}))


def test_actions_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"T >= 1, 7"):
        moved_by(load_card("panda"), np.zeros((2, 6)), np.zeros(7))
