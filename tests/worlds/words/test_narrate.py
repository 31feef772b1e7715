"""Captions agree with the state, and every caption that contradicts it is caught."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.schema import Captions, KinemaError
from kinema.worlds.words.caption_checks import CHECKS, contradictions
from kinema.worlds.words.events import Aim, Event
from kinema.worlds.words.narrate import LONG_WORDS, SHORT_WORDS, Record, faces_robot, narrate
from kinema.worlds.words.recorded import recorded_events

STEPS = 40


def _pick(name: str = "panda") -> Record:
    """A block is taken at step 12, carried to the left and let go at step 30; nothing is simulated."""
    card = load_card(name)
    way = np.interp(np.arange(STEPS), [0, 12, 20, 30, 39], [0, 1, 1.5, 2, 2.4])
    state = np.zeros((STEPS, len(card.states)))
    slots = [channel.slot for channel in card.states]
    for side in {arm.side for arm in card.arms}:
        grip = slots.index(f"{side}.gripper")
        state[:, grip] = 1.0
        if side == "right":
            state[12:30, grip] = 0.55
    executed = state.copy()
    grip = slots.index("right.gripper")
    executed[:, grip] = np.where((np.arange(STEPS) >= 11) & (np.arange(STEPS) < 30), 0.0, 1.0)
    if card.control == "ee_pose":
        state[:, :3] = np.stack([0.45 + 0 * way, 0.10 * way, 0.30 - 0.27 * way * (way <= 1)], 1)
        state[:, 2] = np.interp(np.arange(STEPS), [0, 12, 20, 30, 39], [0.30, 0.03, 0.20, 0.05, 0.20])
        executed[:, :3] = state[:, :3]
    else:
        lift = slots.index("right.joint.1")
        state[:, lift] = np.interp(np.arange(STEPS), [0, 12, 20, 39], [-0.9, -0.2, -0.8, -0.5])
        executed[:, lift] = state[:, lift]
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
        scenario="at a table with blocks",
    )


@pytest.mark.parametrize("name", ["panda", "ur5e", "aloha", "xarm7"])
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


def test_the_card_says_which_way_a_camera_looks() -> None:
    assert faces_robot(load_card("panda").cameras[0])
    assert not faces_robot(load_card("aloha").cameras[0])


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
    ],
)
def test_aims(instruction: str, thing: str, place: str, done: str) -> None:
    aim = Aim.of(instruction)
    assert (aim.thing, aim.place, aim.done) == (thing, place, done)
