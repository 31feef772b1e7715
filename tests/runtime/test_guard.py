"""The guard's laws: within the limits whatever is asked, untouched when what is asked is safe."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinds import one_of_each
from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import carried, tool_pose
from kinema.card.load import card_names, load_card
from kinema.runtime.guard import Guard, _step
from kinema.runtime.limits import jacobian, limits_of
from kinema.runtime.policy import hold_action
from kinema.schema import KinemaError
from kinema.space.rotation import rotvec_from_matrix
from laws import examples

BODIES = card_names()
WILD = st.one_of(
    st.floats(-10, 10, allow_nan=False), st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1e-300, 0.0])
)


def home_state(card: EmbodimentCard) -> np.ndarray:
    """The measured state (S,) at the card's home."""
    values: dict[str, float] = {}
    for arm in card.arms:
        home = [joint.home for joint in arm.joints]
        pose = tool_pose(arm, home)
        values |= {f"{arm.side}.joint.{i}": q for i, q in enumerate(home)}
        values |= {f"{arm.side}.ee.{axis}": pose[i, 3] for i, axis in enumerate("xyz")}
        values |= {f"{arm.side}.rot.{i}": 0.0 for i in range(3)} | {f"{arm.side}.gripper": 1.0}
        values |= {f"{arm.side}.hand.{i}": 0.5 for i in range(12)}
    values |= {
        f"base.waist.{i}": joint.home for i, joint in enumerate(card.torso.joints if card.torso else ())
    }
    return np.array([values[channel.slot] for channel in card.states])


def guard_of(card: EmbodimentCard) -> tuple[Guard, np.ndarray]:
    guard, state = Guard(card), home_state(card)
    guard.anchor(state)
    return guard, state


def start_of(guard: Guard, state: np.ndarray, now_s: float = -1.0) -> np.ndarray:
    """The action that the body stands at."""
    return guard.check(None, now_s=now_s, state=state).action


def tools_outside_m(card: EmbodimentCard, action: np.ndarray) -> float:
    """How far a tool lies outside the workspace; only for bodies driven by joints."""
    box = np.array(card.workspace_m)
    at, worst = 0, -np.inf
    waist = action[len(action) - len(card.torso.joints) :] if card.torso else ()
    for arm in carried(card, waist):
        tool_m = tool_pose(arm, action[at : at + len(arm.joints)])[:3, 3]
        worst = max(worst, float(np.maximum(box[:, 0] - tool_m, tool_m - box[:, 1]).max()))
        at += len(arm.joints) + (len(arm.hand.values) if arm.hand else 1)
    return worst


def as_state(card: EmbodimentCard, action: np.ndarray, state: np.ndarray) -> np.ndarray:
    """The state (S,) of a body that has come to where it was told to go."""
    if card.hold.action == "zero":  # what it is told is no place
        return state
    driven = {channel.slot: value for channel, value in zip(card.actions, action)}
    return np.array([driven.get(c.slot, value) for c, value in zip(card.states, state)])


class Watched:
    """A guard whose every answer is held against the card's numbers, worked out anew here.

    obeys: whether the body goes where it is told; otherwise it stays where it is
    """

    def __init__(self, card: EmbodimentCard, *, obeys: bool) -> None:
        self.card, self.obeys = card, obeys
        self.guard, self.state = guard_of(card)
        self.period_s, self.now_s = 1.0 / card.control_hz, 0.0
        self.sent = self.guard.check(None, now_s=0.0, state=self.state).action
        self.rates = [np.zeros(len(motion.joints)) for motion in self.guard.limits.motions]

    def check(self, asked: np.ndarray | None, elapsed_s: float) -> np.ndarray:
        self.now_s += elapsed_s
        before, state = self.sent, self.state
        self.sent = self.guard.check(asked, now_s=self.now_s, state=self.state).action
        if self.obeys:
            self.state = as_state(self.card, self.sent, self.state)
        limits, sent = self.guard.limits, self.sent
        assert np.isfinite(sent).all()
        assert (sent >= limits.low - 1e-8).all()
        assert (sent <= limits.high + 1e-8).all()
        time_s = float(np.clip(elapsed_s, 0.0, self.period_s))
        for i, motion in enumerate(limits.motions):
            step = _step(motion, before, sent)
            assert (np.abs(step) <= motion.speed * time_s * (1 + 1e-6) + 1e-9).all()
            if not self.obeys:
                measured = hold_action(self.card, state)
                ahead = np.abs(_step(motion, measured, sent))
                assert (
                    ahead <= np.maximum(motion.tracking, np.abs(_step(motion, measured, before))) + 1e-7
                ).all()
            if time_s and self.obeys:
                if elapsed_s > 1.5 * self.period_s:  # it came to a stand in the meantime
                    self.rates[i] = 0.0 * self.rates[i]
                change = np.abs(step / time_s - self.rates[i])
                assert (change <= motion.acceleration * time_s * (1 + 1e-6) + 1e-5).all(), (
                    change,
                    motion.side,
                )
                self.rates[i] = step / time_s
        if self.card.control == "joint_position":
            outside_m = max(tools_outside_m(self.card, before), 0.0)
            assert tools_outside_m(self.card, sent) <= outside_m + 1e-6
        return sent


def wild_actions(card: EmbodimentCard) -> st.SearchStrategy[Any]:
    some = st.lists(WILD, min_size=len(card.actions), max_size=len(card.actions)).map(np.array)
    low, high = limits_of(card).low, limits_of(card).high
    corner = st.lists(st.booleans(), min_size=len(low), max_size=len(low)).map(
        lambda up: np.where(up, high, low)
    )
    return st.one_of(st.none(), some, corner, corner)


@pytest.mark.parametrize("body", one_of_each(BODIES))
@given(data=st.data())
@examples(12)
def test_whatever_is_asked_what_is_sent_keeps_every_limit_and_can_stop(body: str, data: Any) -> None:
    card = load_card(body)
    watched = Watched(card, obeys=True)
    period_s = watched.period_s
    elapsed = st.sampled_from([period_s, period_s, period_s / 3, 7 * period_s, 0.0, -period_s])
    for asked in data.draw(st.lists(wild_actions(card), min_size=1, max_size=8)):
        for _ in range(data.draw(st.integers(1, 4))):  # the same target several times: it comes up to speed
            watched.check(asked, data.draw(elapsed))
    for _ in range(40):  # and can come to a stand from there, within its limits
        if watched.guard.at_rest:
            break
        watched.check(None, period_s)
    assert watched.guard.at_rest


@pytest.mark.parametrize("body", one_of_each(BODIES))
@given(data=st.data())
@examples(6)
def test_a_command_never_runs_away_from_a_body_that_is_stuck(body: str, data: Any) -> None:
    watched = Watched(load_card(body), obeys=False)
    for asked in data.draw(st.lists(wild_actions(watched.card), min_size=1, max_size=6)):
        for _ in range(6):
            watched.check(asked, watched.period_s)


@pytest.mark.parametrize("body", one_of_each(BODIES))
@given(seed=st.integers(0, 2**32 - 1))
@examples(10)
def test_safe_motion_passes_untouched(body: str, seed: int) -> None:
    card = load_card(body)
    guard, rng = Guard(card), np.random.default_rng(seed)
    state = inner_state(body)
    action = guard.anchor(state)
    period_s = 1.0 / card.control_hz
    for k in range(5):
        asked = action.copy()
        for motion in guard.limits.motions:
            share = np.abs(motion.joints_per) @ np.ones(len(motion.columns))
            gentle = np.minimum(motion.speed, motion.acceleration * period_s) * period_s
            step = (gentle / np.maximum(share, 1e-9)).min() * 0.2
            asked[list(motion.columns)] += rng.uniform(-step, step, len(motion.columns))
        guarded = guard.check(asked, now_s=100.0 + k * period_s, state=state)
        if guarded.changes:  # the only excuse: the walk has come to a wall
            assert all("range" in c or "workspace" in c for c in guarded.changes), guarded.changes
            return
        np.testing.assert_array_equal(guarded.action, asked)
        assert guarded.fresh
        action, state = asked, as_state(card, asked, state)


@cache
def inner_state(body: str) -> np.ndarray:
    """A state (S,) away from the ends of the ranges, where the guard can walk to from home."""
    card = load_card(body)
    guard, state = guard_of(card)
    span = guard.limits.high - guard.limits.low
    at = start_of(guard, state)
    goal = np.clip(at, guard.limits.low + 0.05 * span, guard.limits.high - 0.05 * span)
    for k in range(25):
        at = guard.check(goal, now_s=k / card.control_hz, state=as_state(card, at, state)).action
    return as_state(card, at, state)


@pytest.mark.parametrize("body", ["panda", "ur5e"])
def test_what_is_sent_lies_between_the_last_and_the_asked(body: str) -> None:
    card = load_card(body)
    guard, state = guard_of(card)
    last = start_of(guard, state)
    asked = last.copy()
    asked[0] += 0.5 if body == "ur5e" else 0.15
    sent = guard.check(asked, now_s=0.0, state=state)
    assert sent.changes
    assert last[0] < sent.action[0] < asked[0]
    np.testing.assert_allclose(sent.action[1:], asked[1:], atol=1e-9)


def at_full_speed(card: EmbodimentCard) -> tuple[Guard, np.ndarray, np.ndarray]:
    """A guard whose body turns its first joint as fast as it may, where it is and its state."""
    guard, state = guard_of(card)
    action = start_of(guard, state)
    for k in range(4):
        asked = action.copy()
        asked[0] += 1.0
        action = guard.check(asked, now_s=k * 0.1, state=as_state(card, action, state)).action
    return guard, action, as_state(card, action, state)


def test_it_may_always_brake_and_does_so_at_the_cards_acceleration() -> None:
    card = load_card("ur5e")
    guard, action, state = at_full_speed(card)
    speed, limit = guard._rates[0][0], guard.limits.motions[0].acceleration[0]
    assert speed > 1.0
    told = [action[0]]
    for k in range(10):
        guarded = guard.check(None, now_s=0.4 + k * 0.1, state=state)
        told.append(guarded.action[0])
        state = as_state(card, guarded.action, state)
    speeds = np.array([speed, *(np.diff(told) / 0.1)])
    assert (np.diff(speeds) >= -limit * 0.1 - 1e-9).all()
    assert np.diff(speeds)[0] == pytest.approx(-limit * 0.1)
    assert speeds[-1] == 0.0
    assert guard.at_rest


def test_a_body_whose_braking_is_not_limited_stands_at_once() -> None:
    card = load_card("ur5e")
    card = card.model_copy(update={"motion": card.motion.model_copy(update={"limits_braking": False})})
    guard, action, state = at_full_speed(card)
    stopped = guard.check(action, now_s=0.4, state=state)
    assert stopped.changes == ()
    np.testing.assert_array_equal(stopped.action, action)
    assert guard.at_rest


def test_a_burst_of_commands_goes_no_further_than_one() -> None:
    card = load_card("panda")
    calm, state = guard_of(card)
    asked = start_of(calm, state) + np.array([0.2, 0.1, 0, 0, 0, 0, 0])
    calm.check(asked, now_s=0.0, state=state)
    once = calm.check(asked, now_s=0.1, state=state).action
    hasty, _ = guard_of(card)
    start_of(hasty, state)
    hasty.check(asked, now_s=0.0, state=state)
    for k in range(1, 11):
        often = hasty.check(asked, now_s=k * 0.01, state=state).action
    start = start_of(calm, state)
    assert (
        0.0 < np.linalg.norm((often - home_state(card))[:2]) <= np.linalg.norm((once - home_state(card))[:2])
    )
    assert np.isfinite(start).all()


@pytest.mark.parametrize(
    ("asked", "due_s", "torque", "why"),
    [
        (None, None, None, "no action"),
        (np.zeros(3), None, None, "shape"),
        (np.full(7, np.nan), None, None, "x, y, z, rx, ry, rz, gripper not finite"),
        (np.zeros(7), 0.9, None, "late by 0.100 s"),
        (np.zeros(7), float("nan"), None, "late"),
        (
            np.zeros(7),
            1.1,
            np.array([0, 0, 88.0, 0, 0, 0, 0]),
            r"torque beyond the limit \(joint3 88 of 87\)",
        ),
    ],
)
def test_what_cannot_be_used_is_held_and_told(
    asked: np.ndarray | None, due_s: float | None, torque: np.ndarray | None, why: str
) -> None:
    card = load_card("panda")
    guard, state = guard_of(card)
    guarded = guard.check(asked, now_s=1.0, state=state, due_s=due_s, torque=torque)
    assert not guarded.fresh
    assert re.search(why, guarded.changes[0])
    np.testing.assert_allclose(guarded.action, start_of(guard, state), atol=1e-9)


def test_a_body_that_presses_too_hard_stops_pressing() -> None:
    guard, state = guard_of(load_card("panda"))
    pressing = start_of(guard, state)
    pressing[2] -= 0.02
    guard.check(pressing, now_s=0.0, state=state)
    torque = np.array([0, 100.0, 0, 0, 0, 0, 0])
    held = guard.check(pressing, now_s=0.1, state=state, torque=torque).action
    np.testing.assert_allclose(held, state, atol=1e-9)


def test_a_torque_nobody_measures_forbids_nothing() -> None:
    guard, state = guard_of(load_card("panda"))
    asked = start_of(guard, state)
    assert guard.check(asked, now_s=0.0, state=state, torque=np.full(7, np.nan)).fresh


def test_holding_keeps_the_grip() -> None:
    card = load_card("panda")
    guard, state = guard_of(card)
    closed = start_of(guard, state)
    closed[-1] = 0.0
    guard.check(closed, now_s=0.0, state=state)
    around_a_block = np.array([*closed[:-1], 0.55])
    assert guard.check(None, now_s=0.1, state=around_a_block).action[-1] == 0.0


def test_a_pushed_body_holds_where_it_is_and_not_where_it_was() -> None:
    card = load_card("panda")
    guard, state = guard_of(card)
    pushed = state.copy()
    pushed[1] += 0.2
    for k in range(10):
        held = guard.check(None, now_s=k * 0.1, state=pushed).action
    one_period = guard.limits.motions[0].speed * guard.period_s
    assert (np.abs(_step(guard.limits.motions[0], held, pushed)) <= one_period).all()


def test_sensors_that_see_nothing_do_not_move_a_holding_body() -> None:
    guard, state = guard_of(load_card("ur5e"))
    before = start_of(guard, state)
    after = guard.check(None, now_s=0.0, state=np.full_like(state, np.nan)).action
    np.testing.assert_array_equal(before, after)


def test_a_body_of_unknown_place_is_not_started() -> None:
    guard = Guard(load_card("panda"))
    with pytest.raises(KinemaError, match=r"anchor"):
        guard.check(None, now_s=0.0, state=np.zeros(7))
    with pytest.raises(KinemaError, match=r"not finite in \['x'\]"):
        guard.anchor(np.array([np.nan, 0, 0, 0, 0, 0, 0]))


@pytest.mark.parametrize("body", BODIES)
def test_the_jacobian_is_the_derivative_of_the_tool(body: str) -> None:
    for arm in load_card(body).arms:
        joints = np.array([joint.home for joint in arm.joints])
        step = np.random.default_rng(0).normal(0, 1e-3, len(joints))
        before, after = tool_pose(arm, joints), tool_pose(arm, joints + step)
        twist = jacobian(arm, joints) @ step
        turned = rotvec_from_matrix(after[:3, :3] @ before[:3, :3].T)
        np.testing.assert_allclose(after[:3, 3] - before[:3, 3], twist[:3], atol=2e-5)
        np.testing.assert_allclose(turned, twist[3:], atol=2e-5)


def test_limits_are_those_of_the_card() -> None:
    card = load_card("ur5e")
    limits = limits_of(card)
    arm = card.arms[0]
    np.testing.assert_array_equal(limits.motions[0].speed, [joint.velocity for joint in arm.joints])
    np.testing.assert_array_equal(limits.effort, [joint.effort for joint in arm.joints])
    panda = limits_of(load_card("panda"))
    np.testing.assert_array_equal(panda.low[:3], [0.20, -0.36, 0.0])


DRIVEN = [name for name in BODIES if load_card(name).hold.action == "position"]


@pytest.mark.parametrize("body", BODIES)
def test_every_joint_of_a_shipped_arm_says_how_it_accelerates_and_follows(body: str) -> None:
    card = load_card(body)
    for arm in card.arms:
        for joint in arm.joints:
            assert joint.acceleration is not None
            assert joint.tracking is not None
            # a control period at full speed passes, with room for the drive's lag
            assert joint.tracking >= 1.4 * joint.velocity / card.control_hz
    assert "cceleration" in card.motion.source
    assert "racking" in card.motion.source
    assert card.hold.torque_on_exit == "hold"


@pytest.mark.parametrize("body", DRIVEN)
def test_full_speed_behind_a_drives_lag_is_not_held_back(body: str) -> None:
    # A drive that is nine tenths of a period late, and asked for the full speed of the slowest joint.
    card = load_card(body)
    guard, state = guard_of(card)
    period_s = guard.period_s
    motion = guard.limits.motions[0]
    action = start_of(guard, state)
    told = [action, action]
    reason = ""
    for k in range(12):
        asked = action.copy()
        per_channel = np.abs(motion.joints_per[:, 0])
        asked[motion.columns[0]] += (
            motion.speed[per_channel > 1e-6] / per_channel[per_channel > 1e-6]
        ).min() * period_s
        lagging = as_state(card, 0.9 * told[-2] + 0.1 * told[-1], state)
        guarded = guard.check(asked, now_s=k * period_s, state=lagging)
        reason += " ".join(guarded.changes)
        action = guarded.action
        told.append(action)
    assert "ahead" not in reason
    assert "follow" not in reason


@pytest.mark.parametrize("body", one_of_each(BODIES))
@given(data=st.data())
@examples(12)
def test_a_run_begins_within_the_ranges_and_not_outside(body: str, data: Any) -> None:
    card = load_card(body)
    state = home_state(card)
    low, high = np.array([channel.range for channel in card.states]).T
    if card.hold.action == "position":
        low, high = limits_of(card).low, limits_of(card).high
    at = data.draw(st.integers(0, len(state) - 1))
    beyond = data.draw(
        st.one_of(st.floats(-0.019, 0.019), st.floats(0.06, 1e6), st.sampled_from([np.nan, np.inf]))
    )
    end = data.draw(st.booleans())
    state[at] = high[at] + beyond * (high - low)[at] if end else low[at] - beyond * (high - low)[at]
    guard = Guard(card)
    if abs(beyond) < 0.02:  # noise at an end stop
        np.testing.assert_array_equal(guard.anchor(state), hold_action(card, state))
        before = hold_action(card, state)
        for k in range(3):
            after = guard.check(None, now_s=k / card.control_hz, state=state).action
            np.testing.assert_array_equal(after, before)  # who holds, holds where it stands
        return
    with pytest.raises(KinemaError) as told:
        guard.anchor(state)
    assert card.states[at].name in str(told.value)
    if np.isfinite(beyond):
        assert f"{state[at]:.4g}" in str(told.value)
        assert f"[{low[at]:.4g}, {high[at]:.4g}] {card.states[at].unit}" in str(told.value)
        assert f"`{card.states[at].name}: {{key: ..., unit: " in str(told.value)


def test_a_state_in_degrees_is_told_to_be_in_degrees() -> None:
    card = load_card("so101")
    with pytest.raises(
        KinemaError, match=r"shoulder_lift is -60, .*in deg, .*`shoulder_lift: {key: ..., unit: deg}`"
    ):
        Guard(card).anchor(np.array([10.0, -60.0, 70.0, 40.0, 5.0, 50.0]))


@pytest.mark.parametrize("body", DRIVEN)
def test_a_body_that_stands_a_little_outside_moves_in_without_a_jump(body: str) -> None:
    card = load_card(body)
    limits = limits_of(card)
    state, period_s = home_state(card), 1.0 / card.control_hz
    slots = [channel.slot for channel in card.states]
    joints = limits.motions[0].columns  # the last joint, which turns the tool about itself, or the tool's x
    column = joints[-1] if card.control == "joint_position" else joints[0]
    place = slots.index(card.actions[column].slot)
    state[place] = limits.high[column] + 0.015 * (limits.high - limits.low)[column]
    guard = Guard(card)
    before = guard.anchor(state)
    outside = before[column]
    asked = before.copy()
    asked[column] = limits.high[column] - 0.1 * (limits.high - limits.low)[column]
    for k in range(40):
        sent = guard.check(asked, now_s=k * period_s, state=as_state(card, before, state)).action
        motion = limits.motions[0]
        assert (np.abs(_step(motion, before, sent)) <= motion.speed * period_s * (1 + 1e-6)).all()
        assert sent[column] <= outside + 1e-9
        before = sent
    assert before[column] <= limits.high[column] + 1e-9


@pytest.mark.parametrize("body", [name for name in DRIVEN if load_card(name).control == "joint_position"])
@given(data=st.data())
@examples(10)
def test_a_driver_that_wraps_moves_nothing(body: str, data: Any) -> None:
    card = load_card(body)
    guard, state = guard_of(card)
    start = guard.check(None, now_s=0.0, state=state).action
    joints = [i for i, channel in enumerate(card.states) if ".joint." in channel.slot]
    for k in range(1, 12):
        wrapped = state.copy()
        wrapped[data.draw(st.sampled_from(joints))] += data.draw(st.sampled_from([2, -2, 0])) * np.pi
        asked = start.copy()
        guarded = guard.check(asked, now_s=k * guard.period_s, state=wrapped)
        np.testing.assert_allclose(guarded.action, start, atol=1e-12)
        assert guarded.fresh == np.array_equal(wrapped, state)


@pytest.mark.parametrize("body", one_of_each(DRIVEN))
def test_an_arm_that_is_blocked_and_comes_free_does_not_snap(body: str) -> None:
    card = load_card(body)
    guard, state = guard_of(card)
    motion, low, high = guard.limits.motions[0], guard.limits.low, guard.limits.high
    start = start_of(guard, state)
    said, furthest = [], 0.0
    rest = hold_action(card, state)
    column = motion.columns[0]
    goal = start.copy()
    for k in range(60):  # stuck, while it is asked to go on for six seconds
        goal[column] = np.clip(start[column] + 0.02 * k * (high - low)[column], low[column], high[column])
        guarded = guard.check(goal, now_s=k * guard.period_s, state=state)
        said += guarded.changes
        ahead = np.abs(_step(motion, rest, guarded.action))
        assert (ahead <= motion.tracking * (1 + 1e-6)).all()
        furthest = max(furthest, float((ahead / motion.tracking).max()))
    if furthest >= 0.999:
        assert any("does not follow" in each for each in said)
    before = guarded.action
    for k in range(60, 75):  # free: it follows its commands
        state = as_state(card, before, state)
        sent = guard.check(None, now_s=k * guard.period_s, state=state).action
        before = sent
    assert guard.at_rest


@pytest.mark.parametrize("now_s", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("body", BODIES)
def test_a_clock_that_is_no_clock_moves_nothing(body: str, now_s: float) -> None:
    guard, state = guard_of(load_card(body))
    start = start_of(guard, state)
    for due_s in (None, 1.0, float("nan")):
        guarded = guard.check(guard.limits.high, now_s=now_s, state=state, due_s=due_s)
        assert not guarded.fresh
        assert "the clock says" in guarded.changes[0]
        for motion in guard.limits.motions:
            np.testing.assert_allclose(_step(motion, start, guarded.action), 0.0, atol=1e-9)


def test_a_card_may_allow_an_action_to_be_late() -> None:
    card = load_card("panda")
    card = card.model_copy(update={"motion": card.motion.model_copy(update={"late_s": 0.05})})
    guard, state = guard_of(card)
    asked = start_of(guard, state)
    assert guard.check(asked, now_s=1.0, due_s=0.96, state=state).fresh
    assert not guard.check(asked, now_s=1.1, due_s=1.04, state=state).fresh


def test_a_card_that_says_nothing_of_acceleration_gets_what_its_key_promises() -> None:
    card = load_card("so101")
    arm = card.arms[0]
    links = tuple(
        link.model_copy(
            update={"joint": link.joint.model_copy(update={"acceleration": None, "tracking": None})}
        )
        if link.joint
        else link
        for link in arm.links
    )
    motion = limits_of(card.model_copy(update={"arms": (arm.model_copy(update={"links": links}),)})).motions[
        0
    ]
    np.testing.assert_allclose(motion.acceleration, motion.speed / 0.3)
    np.testing.assert_allclose(motion.tracking, motion.speed * 0.2)
