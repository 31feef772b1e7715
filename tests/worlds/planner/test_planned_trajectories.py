"""Planned trajectories: no limit of a card is ever broken, and the tool does what the sentence says."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinds import one_of_each
from kinema.card.batched import tools_of
from kinema.card.card import Arm, EmbodimentCard
from kinema.card.kinematics import body_axes
from kinema.card.load import card_names, load_card
from kinema.schema import KinemaError
from kinema.worlds.planner.body import PLANNED
from kinema.worlds.planner.plan import Planned, plan
from kinema.worlds.planner.spline import at_rest, frames, shortest_knot_s

BODIES = [name for name in card_names() if load_card(name).control in PLANNED and load_card(name).arms]
SEEDS = range(1_000_000, 1_000_002)


def _by_arm(card: EmbodimentCard, planned: Planned) -> list[tuple[Arm, np.ndarray]]:
    splits = np.cumsum([len(arm.joints) + 1 for arm in card.arms])[:-1]
    return list(zip(card.arms, np.split(planned.joints, splits, 1)))


def _episodes(planned: Planned, values: np.ndarray) -> list[np.ndarray]:
    return np.split(values, planned.ends[:-1])


@pytest.mark.parametrize("name", one_of_each(BODIES))
def test_no_limit_of_a_card_is_ever_broken(name):
    card = load_card(name)
    for seed in SEEDS:
        planned = plan(card, 24, seed)
        for arm, own in _by_arm(card, planned):
            low, high = np.array([joint.range for joint in arm.joints]).T
            assert ((own[:, :-1] >= low) & (own[:, :-1] <= high)).all()
            tools_m = tools_of(arm, own[:, :-1]).pos_m
            least, most = np.array(card.workspace_m).T
            assert ((tools_m >= least - 1e-9) & (tools_m <= most + 1e-9)).all()
            _check_motion(card, arm, [_standing_at_both_ends(e) for e in _episodes(planned, own)])
        for values, channels in ((planned.state, card.states), (planned.action, card.actions)):
            low, high = np.array([channel.range for channel in channels], np.float32).T
            assert ((values >= low) & (values <= high)).all()


def _standing_at_both_ends(episode: np.ndarray) -> np.ndarray:
    return np.concatenate([episode[:1].repeat(2, 0), episode, episode[-1:].repeat(2, 0)])


def _check_motion(card: EmbodimentCard, arm: Arm, episodes: list[np.ndarray]) -> None:
    """Of every joint, and of every finger, from standing to standing."""
    joints = {link.joint.name: link.joint for link in arm.links if link.joint}
    moving = [(joint, i, 1.0) for i, joint in enumerate(arm.joints)]
    if arm.gripper:
        spans = np.abs(np.subtract(arm.gripper.open, arm.gripper.closed))
        moving += [(joints[name], -1, span) for name, span in zip(arm.fingers, spans)]
    for episode in episodes:
        for joint, column, span in moving:
            value = span * episode[:, column]
            assert np.abs(np.diff(value)).max() * card.control_hz <= joint.velocity * (1 + 1e-9)
            asked = np.abs(np.diff(value, 2)).max() * card.control_hz**2
            assert asked <= joint.acceleration_limit * (1 + 1e-9)
        if arm.hand:
            assert np.abs(np.diff(episode[:, -1])).max() * card.control_hz <= arm.hand.speed * (1 + 1e-9)


@given(st.integers(1, 3), st.integers(0, 100), st.floats(0.5, 5), st.floats(0.5, 20), st.floats(0.02, 0.2))
def test_a_spline_at_its_shortest_time_keeps_its_limits_and_reaches_both_ends(
    channels, seed, speed, force, period_s
):
    rng = np.random.default_rng(seed)
    points = at_rest(rng.normal(size=(2, 6, channels)))
    knot_s = shortest_knot_s(points, np.full(channels, speed), np.full(channels, force))
    values, ends = frames(points, knot_s, period_s)
    for i, path in enumerate(np.split(values, ends[:-1])):
        np.testing.assert_allclose(path[0], points[i, 0], atol=1e-9)
        np.testing.assert_allclose(path[-1], points[i, -1], atol=1e-9)
        path = _standing_at_both_ends(path)
        assert np.abs(np.diff(path, axis=0)).max() <= speed * period_s * (1 + 1e-9) + 1e-12
        assert np.abs(np.diff(path, 2, axis=0)).max() <= force * period_s**2 * (1 + 1e-9) + 1e-12
        hull = points[i].min(0) - 1e-9, points[i].max(0) + 1e-9
        assert ((path >= hull[0]) & (path <= hull[1])).all()


_AT = re.compile(r"(\d+) cm (ahead|behind), (\d+) cm to the (left|right) and (\d+) cm (up|below)")


def _places_m(sentence: str) -> list[np.ndarray]:
    signs = {"behind": -1, "right": -1, "below": -1}
    return [
        np.array([int(length) * signs.get(word, 1) for length, word in zip(found[::2], found[1::2])]) / 100
        for found in _AT.findall(sentence)
    ]


@pytest.mark.parametrize("name", ["panda", "ur5e"])
def test_the_tool_does_what_the_sentence_says(name):
    card = load_card(name)
    planned = plan(card, 120, 1_000_000)
    ((arm, own),) = _by_arm(card, planned)
    at_m = tools_of(arm, own[:, :-1]).pos_m @ body_axes(card)
    seen = set()
    for sentence, tool_m, values in zip(planned.sentences, _episodes(planned, at_m), _episodes(planned, own)):
        places_m, opening, by_m = _places_m(sentence), values[:, -1], tool_m[-1] - tool_m[0]
        if "lift it" in sentence:
            seen.add("lift")
            height = int(re.findall(r"lift it (\d+) cm", sentence)[0]) / 100
            np.testing.assert_allclose(tool_m[-1] - places_m[0], [0, 0, height], atol=4e-3)
            assert (opening[0], opening[-1]) == pytest.approx((1, 0), abs=1e-9)
        elif sentence.startswith("put what is"):
            seen.add("carry")
            closed = np.flatnonzero(opening < 0.5)
            np.testing.assert_allclose(tool_m[closed[0]], places_m[0], atol=0.02)
            np.testing.assert_allclose(tool_m[closed[-1]], places_m[1], atol=0.02)
        elif places_m:
            seen.add("reach")
            np.testing.assert_allclose(tool_m[-1], places_m[0], atol=4e-3)
        elif found := re.match(r"move (\d+) cm (\w+)", sentence):
            seen.add("shift")
            axis, sign = divmod(["forward", "back", "left", "right", "up", "down"].index(found[2]), 2)
            wanted = (1 - 2 * sign) * int(found[1]) / 100 * np.eye(3)[axis]
            np.testing.assert_allclose(by_m, wanted, atol=5e-3)
        elif "circle" in sentence:
            seen.add("circle")
            np.testing.assert_allclose(by_m, 0, atol=5e-3)
            sense = np.cross(np.diff(tool_m, axis=0)[:-1], np.diff(tool_m, axis=0)[1:])[:, 2].sum()
            assert (sense > 0) == ("anticlockwise" in sentence)
        else:
            seen.add("home")
            np.testing.assert_allclose(values[-1, :-1], [joint.home for joint in arm.joints], atol=1e-9)
    assert len(seen) == 6


def test_an_action_is_the_pose_of_the_frame_after_and_seeds_decide():
    card = load_card("aloha")
    one, again, other = (plan(card, 20, seed) for seed in (1_000_000, 1_000_000, 1_000_001))
    np.testing.assert_array_equal(one.state, again.state)
    assert one.sentences == again.sentences
    assert one.sentences != other.sentences
    assert len(one.ends) == len(one.sentences) == 20
    for state, action in zip(_episodes(one, one.state), _episodes(one, one.action)):
        np.testing.assert_array_equal(action, np.concatenate([state[1:], state[-1:]]))


def test_two_arms_are_named_and_both_may_move():
    sentences = plan(load_card("aloha"), 400, 1_000_000).sentences
    assert all(s.startswith("with the ") for s in sentences)
    assert any(s.startswith("with the left arm, ") and "; with the right arm, " in s for s in sentences)


@pytest.mark.parametrize("name", ["panda_libero", "sawyer_metaworld"])
def test_bodies_whose_actions_are_no_poses_are_refused(name):
    with pytest.raises(KinemaError, match=f"no trajectories can be planned for '{name}'"):
        plan(load_card(name), 1)
