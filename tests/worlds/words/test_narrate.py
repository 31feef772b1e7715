"""Captions agree with the state, and every caption that contradicts it is caught."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kinema.card.kinematics import arm_of, body_axes
from kinema.card.load import card_names, load_card, vehicle_names
from kinema.schema import Captions, KinemaError
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix
from kinema.worlds.words.caption_checks import CHECKS, contradictions
from kinema.worlds.words.events import Aim, Event
from kinema.worlds.words.narrate import LONG_WORDS, SHORT_WORDS, Record, faces_robot, narrate, scenario_of
from kinema.worlds.words.recorded import recorded_events

BENCHMARKS = ("panda_libero", "aloha_gym", "widowx_simpler", "sawyer_metaworld", "aloha_agilex")


def _pick(name: str = "panda") -> Record:
    """A block is taken after 1.2 s, carried to the left and let go after 3 s; nothing is simulated."""
    card = load_card(name)
    tenths = np.arange(round(4 * card.control_hz)) / card.control_hz * 10
    way = np.interp(tenths, [0, 12, 20, 30, 39], [0, 1, 1.5, 2, 2.4])
    state = np.zeros((len(tenths), len(card.states)))
    slots = [channel.slot for channel in card.states]
    commands = [channel.slot for channel in card.actions]
    for side in {arm.side for arm in card.arms}:
        grip = slots.index(f"{side}.gripper")
        state[:, grip] = 1.0
        if side == "right":
            state[(tenths >= 12) & (tenths < 30), grip] = 0.55
    tool = np.stack([0.45 + 0 * way, 0.10 * way, np.interp(tenths, [0, 12, 20, 30, 39], HEIGHT_M)], 1)
    if card.control == "joint_position":
        state[:, slots.index("right.joint.1")] = np.interp(tenths, [0, 12, 20, 39], [-0.9, -0.2, -0.8, -0.5])
        executed = state.copy()
    elif card.control == "ee_pose":
        state[:, :3] = tool
        executed = state.copy()
    else:  # displacements of a target that the tool stays far behind
        state[:, :3] = tool
        executed = np.zeros((len(tenths), len(card.actions)))
        steps = [channel.step or 0.01 for channel in card.actions[:3]]
        executed[:, :3] = 3 * np.diff(tool, axis=0, append=tool[-1:]) / steps
    for channel in card.actions:
        if channel.slot.endswith(".gripper"):
            closed, opened = channel.closed_and_open
            closes = channel.slot == "right.gripper" and (tenths >= 11) & (tenths < 30)
            executed[:, commands.index(channel.slot)] = np.where(closes, closed, opened)
    instruction = "put the red block in the blue bowl"
    events = recorded_events(card, instruction, state=state, executed=executed, success=True)
    return Record(
        card=card,
        instruction=instruction,
        state=state,
        executed=executed,
        cameras=card.camera_names,
        events=events,
        success=True,
        scenario=scenario_of(card),
    )


HEIGHT_M = (0.30, 0.03, 0.20, 0.05, 0.20)


@pytest.mark.parametrize("name", ["panda", "ur5e", "aloha", "xarm7", *BENCHMARKS])
def test_what_is_narrated_contradicts_nothing(name: str) -> None:
    record = _pick(name)
    captions = narrate(record)
    assert contradictions(captions, record) == []
    assert LONG_WORDS[0] <= len(captions.comprehensive.split()) <= LONG_WORDS[1]
    assert SHORT_WORDS[0] <= len(captions.concise.split()) <= SHORT_WORDS[1]
    assert (captions.embodiment, captions.task) == (name, "pick_place")


def test_events_are_found_in_the_numbers() -> None:
    found = [(event.kind, event.thing, event.place) for event in _pick().events]
    assert found == [
        ("grasp", "red block", ""),
        ("lift", "red block", ""),
        ("release", "red block", ""),
        ("place", "red block", "blue bowl"),
    ]


@pytest.mark.parametrize("name", ["panda_libero", "widowx_simpler"])
def test_events_are_the_same_whatever_the_rate_and_whichever_way_a_gripper_counts(name: str) -> None:
    def found(record: Record) -> list[tuple[str, int]]:
        return [(e.kind, round(e.step / record.card.control_hz, 1)) for e in record.events]

    for (kind, second), (known, at) in zip(found(_pick(name)), found(_pick()), strict=True):
        assert kind == known
        assert abs(second - at) <= 0.3


@pytest.mark.parametrize("name", [*card_names(), *vehicle_names()])
def test_every_time_that_is_told_is_read_back_as_its_step(name: str) -> None:
    record = replace(_pick(), card=load_card(name), cameras=load_card(name).camera_names)
    assert [record.step(record.seconds(step)) for step in range(2000)] == list(range(2000))


def test_a_displaced_tool_is_told_by_the_way_that_it_covered() -> None:
    """It was asked for three times as much."""
    said = narrate(_pick("panda_libero")).action
    assert "From 0.00 to 1.20 s the right arm moves 10 cm left, 27 cm down and closes" in said
    moved = _pick("panda_libero").moved(0, 24)
    assert moved.amount("right.ee.y") == pytest.approx(0.1)


def test_a_tools_turn_is_told_about_the_robots_axes() -> None:
    record = _pick("panda_libero")
    state = record.state.copy()
    state[:, 3:6] = [0.4, -0.3, 0.5]
    R_turned = matrix_from_rotvec(np.array([0.0, 0.2, 0.0])) @ matrix_from_rotvec(state[0, 3:6])
    state[-1, 3:6] = rotvec_from_matrix(R_turned)
    moved = replace(record, state=state).moved(0, record.length)
    np.testing.assert_allclose([moved.amount(f"right.rot.{i}") for i in range(3)], [0, 0.2, 0], atol=1e-6)


@pytest.mark.parametrize("name", [name for name in card_names() if len(load_card(name).arms) == 2])
def test_of_two_arms_the_left_one_is_on_the_left(name: str) -> None:
    card = load_card(name)
    axes = body_axes(card)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    assert np.linalg.det(axes) == pytest.approx(1)
    left, right = (np.array(arm_of(card, side).base_pos_m) @ axes for side in ("left", "right"))
    assert left[1] >= right[1]


def test_jaws_that_were_shut_from_the_beginning_hold_nothing() -> None:
    """As ALOHA begins, whose shut jaws measure 0.1."""
    record = _pick("aloha_gym")
    state, executed = np.full_like(record.state, 0.1), np.zeros_like(record.executed)
    events = recorded_events(record.card, "hand it over", state=state, executed=executed, success=True)
    assert events == ()


def test_of_a_sentence_that_is_not_understood_nothing_is_said_not_to_have_happened() -> None:
    record = replace(_pick("panda_libero"), instruction="turn on the stove", events=())
    captions = narrate(record)
    assert contradictions(captions, record) == []
    assert captions.feedback == "The task is done after 4.00 s."
    assert "taken or moved" not in captions.comprehensive
    understood = narrate(replace(_pick("panda_libero"), events=(), success=False))
    assert understood.feedback.startswith("Nothing is taken or moved.")


def test_jaws_that_close_on_nothing_hold_nothing() -> None:
    record = _pick()
    state = record.state.copy()
    state[12:30, -1] = 0.0
    assert [
        event.kind
        for event in recorded_events(
            record.card, record.instruction, state=state, executed=record.executed, success=False
        )
    ] == []


def _swap(layer: str, old: str, new: str) -> Callable[[Captions], Captions]:
    def corrupt(captions: Captions) -> Captions:
        text = getattr(captions, layer)
        changed = re.sub(old, new, text, count=1)
        assert changed != text, f"{layer} has no {old!r}: {text}"
        return replace(captions, **{layer: changed})

    return corrupt


PLANTED = {
    "wrong object": _swap("comprehensive", "red block", "green block"),
    "wrong object, concise": _swap("concise", "red block", "yellow block"),
    "wrong object in the feedback": _swap("feedback", "hold it", "hold the blue bowl"),
    "thing and place exchanged": _swap(
        "comprehensive", "red block rests in the blue bowl", "blue bowl rests in the red block"
    ),
    "wrong kind of place": _swap("feedback", "blue bowl", "blue plate"),
    "wrong place, known thing": _swap("feedback", "rests in the blue bowl", "rests in the red block"),
    "wrong direction": _swap("action", r"cm left", "cm right"),
    "wrong direction, comprehensive": _swap("comprehensive", r"cm left", "cm right"),
    "up for down": _swap("action", r"cm down", "cm up"),
    "wrong amount": _swap("action", r"\d+ cm left", "29 cm left"),
    "a direction left out": _swap("action", r"\d+ cm left, ", ""),
    "a direction made up": _swap("action", r"cm left", "cm left, 9 cm forward"),
    "wrong gripper": _swap("action", "closes its gripper from 100 to 0", "opens its gripper from 0 to 100"),
    "wrong gripper, comprehensive": _swap(
        "comprehensive", "closes its gripper from 100 to 0 percent", "keeps its gripper 100 percent open"
    ),
    "wrong opening": _swap("action", "from 100 to 0 percent", "from 100 to 40 percent"),
    "gripper the wrong way round": _swap("action", "from 100 to 0 percent", "from 0 to 100 percent"),
    "wrong arm": _swap("action", "the right arm", "the left arm"),
    "words that are no motion": _swap("action", r"cm left", "cm sideways"),
    "a stretch that is not there": _swap("action", r"From 0\.0 to", "From 7.0 to"),
    "too short": lambda c: replace(c, comprehensive="The robot works."),
    "too long": lambda c: replace(c, comprehensive=c.comprehensive + " It does so again." * 20),
    "concise too short": lambda c: replace(c, concise="It puts the red block away."),
    "concise too long": lambda c: replace(c, concise=c.concise + " It does so again and again." * 4),
    "empty layer": lambda c: replace(c, feedback=" "),
    "wrong camera": _swap("concise", "front", "left"),
    "wrong camera in the action": _swap("action", "wrist camera", "ceiling camera"),
    "camera missing": _swap("comprehensive", "the front and the wrist cameras", "the front camera"),
    "camera looks the other way": _swap("action", "which faces the robot", "which looks the robot's way"),
    "wrong view on the axis": lambda c: replace(c, view="front"),
    "wrong body": _swap("goal", "Franka Panda", "UR5e"),
    "wrong body on the axis": lambda c: replace(c, embodiment="ur5e"),
    "wrong task": lambda c: replace(c, task="stack"),
    "wrong scenario": lambda c: replace(c, scenario="a road"),
    "event that did not happen": _swap("feedback", "At ", "At 0.5 s the drawer stands open; at "),
    "event missing": _swap("feedback", r"at \d\.\d s the jaws let go of the red block; ", ""),
    "event at another time": _swap("feedback", r"at \d\.\d s the jaws let go", "at 0.4 s the jaws let go"),
    "failed for done": _swap("feedback", "is done", "is not done"),
    "failed for done, concise": _swap("concise", "and does it", "but does not do it"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_contradiction_is_caught(name: str) -> None:
    record = _pick()
    assert contradictions(PLANTED[name](narrate(record)), record)


def test_a_success_that_was_none_is_caught() -> None:
    record = _pick()
    failed = replace(record, success=False, events=record.events[:-1])
    assert contradictions(narrate(failed), failed) == []
    assert any("otherwise" in fault for fault in contradictions(narrate(record), failed))


def test_a_grasp_that_was_none_is_caught() -> None:
    record = _pick()
    empty = replace(record, events=(), success=False)
    assert contradictions(narrate(empty), empty) == []
    assert any("a grasp that did not happen" in f for f in contradictions(narrate(record), empty))


def test_every_check_is_needed() -> None:
    """Each one catches something that no other does."""
    record = _pick()
    truth = narrate(record)
    caught = [{c.__name__ for c in CHECKS if list(c(plant(truth), record))} for plant in PLANTED.values()]
    for check in CHECKS:
        assert {check.__name__} in caught


FACED = {"panda": True, "panda_libero": True, "aloha": False, "aloha_gym": False, "aloha_agilex": False}


def test_the_card_says_which_way_a_camera_looks() -> None:
    faced = {name: faces_robot(load_card(name), load_card(name).cameras[0]) for name in FACED}
    assert faced == FACED


def test_a_record_without_pictures_or_of_uneven_length_is_refused() -> None:
    record = _pick()
    with pytest.raises(KinemaError, match="as many states as actions"):
        replace(record, state=record.state[:5])
    with pytest.raises(KinemaError, match="no cameras"):
        replace(record, cameras=("roof",))
    with pytest.raises(KinemaError, match="choices: grasp"):
        Event(step=0, kind="grab")


@pytest.mark.parametrize(
    ("instruction", "thing", "place", "done"),
    [
        ("stack the red block on the green block", "red block", "green block", "place"),
        ("push the blue block to the yellow area", "blue block", "yellow area", "arrive"),
        ("press the green button", "green button", "", "press"),
        ("shut the drawer", "drawer", "", "close"),
        ("lift the tray with both arms", "tray", "", "raise"),
        ("make me a sandwich", "", "", ""),
        ("put the black bowl in the bottom drawer of the cabinet and close it", "", "", ""),
    ],
)
def test_aims(instruction: str, thing: str, place: str, done: str) -> None:
    aim = Aim.of(instruction)
    assert (aim.thing, aim.place, aim.done) == (thing, place, done)
