"""Captions held against the state: what contradicts it is named, one sentence for each contradiction.

The checks read what a caption says, whoever wrote it: lengths, body, cameras, things, motion, grips, the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict

from kinema.card.load import card_names, load_card
from kinema.schema import Captions
from kinema.space.action_words import read, tolerance, verb_of
from kinema.space.moved import Moved
from kinema.worlds.words.events import NOUNS, THING
from kinema.worlds.words.narrate import LONG_WORDS, SHORT_WORDS, Record, faces_robot

LAYERS = ("goal", "action", "feedback", "comprehensive", "concise")
Check = Callable[[Captions, Record], Iterator[str]]
_STRETCH = re.compile(
    r"From (\d+\.\d+) to (\d+\.\d+) s ((?:the (?:left arm|right arm|vehicle) [^.]*(?:\.\d[^.]*)*))\."
)


def contradictions(captions: Captions, record: Record, *, complete: bool = True) -> list[str]:
    """Everything in the captions that the record says is wrong; empty when they hold.

    complete: whether they owe the whole motion and every event, as those do that are written from the state
    """
    checks = [check for check in CHECKS if complete or check is not check_complete]
    return [fault for check in checks for fault in check(captions, record)]


def check_lengths(captions: Captions, record: Record) -> Iterator[str]:
    for layer, (least, most) in (("comprehensive", LONG_WORDS), ("concise", SHORT_WORDS)):
        count = len(getattr(captions, layer).split())
        if not least <= count <= most:
            yield f"{layer}: {count} words; it needs {least} to {most}"
    for layer in LAYERS:
        if not getattr(captions, layer).strip():
            yield f"{layer}: it is empty"


def check_axes(captions: Captions, record: Record) -> Iterator[str]:
    """The four axes name this body, task, place and view."""
    wanted = {
        "embodiment": record.card.name,
        "task": record.aim.family or "other",
        "scenario": record.scenario,
        "view": "+".join(record.cameras),
    }
    for axis, value in wanted.items():
        if getattr(captions, axis) != value:
            yield f"{axis}: {getattr(captions, axis)!r} should be {value!r}"


def check_body(captions: Captions, record: Record) -> Iterator[str]:
    others = {load_card(name).robot_tag for name in card_names()} - {record.card.robot_tag}
    for layer, text in _layers(captions):
        plain = text.replace(record.card.robot_tag, "")
        for tag in sorted(others):
            if re.search(rf"\b{re.escape(tag)}\b", plain):
                yield f"{layer}: it speaks of {tag}; the body is {record.card.robot_tag}"


def check_view(captions: Captions, record: Record) -> Iterator[str]:
    """The cameras that are named are those that are seen, and they look where they are said to look."""
    cameras = {camera.name: camera for camera in record.card.cameras}
    named = set(re.findall(r"\b(\w+) camera", captions.action))
    if named and named != set(record.cameras):
        yield f"action: it is seen by {sorted(named)}; the cameras are {sorted(record.cameras)}"
    for layer, text in _layers(captions):
        said = re.findall(r"seen by ((?:the \w+(?:, | and )?)+) cameras?", text)
        heard = set(re.findall(r"the (\w+)", " ".join(said)))
        if heard and heard != set(record.cameras):
            yield f"{layer}: it is seen by {sorted(heard)}; the cameras are {sorted(record.cameras)}"
    for name, way in re.findall(r"fixed (\w+) camera, which (faces|looks)", captions.action):
        if name in cameras and faces_robot(record.card, cameras[name]) != (way == "faces"):
            yield f"action: the {name} camera does not look as it is said to"


def check_things(captions: Captions, record: Record) -> Iterator[str]:
    """Things and places are those of the instruction or of an event, each in its own part."""
    aim = record.aim
    if not aim.family:
        return
    known = {aim.thing, aim.place, *(e.thing for e in record.events), *(e.place for e in record.events)}
    nouns = {name.split()[-1] for name in known if name}
    for layer, text in _layers(captions):
        for color, noun in THING.findall(text.replace("table with blocks", "")):
            if (color and f"{color} {noun}" not in known) or (not color and noun not in nouns):
                yield f"{layer}: it speaks of a {color} {noun}".replace("  ", " ")
    for layer, text in _layers(captions):
        yield from _misplaced(layer, text, record)


_NAME = rf"the ((?:\w+ )?(?:{'|'.join(NOUNS)}))\b"
_HELD = re.compile(rf"(?:meet|let go of|grasps?|holds?|releases?|lifts?) {_NAME}")
_MOVED = re.compile(rf"{_NAME} (?:rests|reaches|leaves|begins|goes|stands|is shut|hangs)")
_PLACED = re.compile(rf"(?:rests (?:in|on)|reaches|placed (?:in|on)) {_NAME}")


def _misplaced(layer: str, text: str, record: Record) -> Iterator[str]:
    """What is held or moves is the thing and where it ends is the place, not the other way round."""
    things = {record.aim.thing, *(event.thing for event in record.events)}
    places = {record.aim.place, *(event.place for event in record.events)}
    roles = ((_HELD, things, "held"), (_MOVED, things, "moved"), (_PLACED, places, "the place"))
    for pattern, known, what in roles:
        for name in pattern.findall(text):
            if name not in known:
                yield f"{layer}: the {name} is not {what}"


def check_motion(captions: Captions, record: Record) -> Iterator[str]:
    """Every stretch that is told is read back: direction, amount and gripper must be those of the actions."""
    for layer, text in _layers(captions):
        for start, end, words in _STRETCH.findall(text):
            first, last = record.step(start), min(record.step(end), record.length)
            if not 0 <= first < last:
                yield f"{layer}: there is no stretch from {start} to {end} s"
                continue
            truth = record.moved(first, last) if layer == "action" else record.tools(first, last)
            try:
                heard = read(words)
            except ValueError as error:
                yield f"{layer}: {error}"
                continue
            yield from (f"{layer}, {start} to {end} s: {fault}" for fault in _differences(heard, truth))


def _differences(heard: Moved, truth: Moved) -> Iterator[str]:
    for slot, amount in heard.amounts.items():
        true = truth.amounts.get(slot)
        if true is None:
            yield f"{slot} is none of what this body moves"
        elif abs(true - amount) > 1.001 * tolerance(slot, truth.units.get(slot, "")):
            yield f"{slot} moves by {true:.3g}, not by {amount:.3g}"
    parts = {slot.partition(".")[0] for slot in heard.amounts} | set(heard.grips)
    for slot, true in truth.amounts.items():
        limit = 1.001 * tolerance(slot, truth.units.get(slot, ""))
        if slot.partition(".")[0] in parts and slot not in heard.amounts and abs(true) > limit:
            yield f"{slot} moves by {true:.3g}, which is left out"
    for side, grip in heard.grips.items():
        if side not in truth.grips or verb_of(truth.grips[side]) != verb_of(grip):
            yield f"the {side} gripper does not do what is said"
        elif abs(truth.grips[side].after - grip.after) > 1.001 * tolerance(f"{side}.gripper"):
            yield f"the {side} gripper ends {truth.grips[side].after:.0%} open"


_EVENT_SIGNS = {
    "grasp": r"\b(?:meet|grasps?|grabs?|picks? up|holds?) (?:the|it)\b",
    "release": r"\b(?:lets? go|releases?|drops?)\b",
    "lift": r"\bleaves the table\b|\bis lifted\b|\blifts? the \w+ block\b",
    "open": r"\bstands open\b",
    "close": r"\bis shut\b",
    "press": r"\bgoes down\b",
    "raise": r"\bhangs in the air\b",
    "push": r"\bbegins to slide\b",
    "turn": r"\bhas turned\b",
    "stop": r"\bstands still\b",
    "follow": r"\bvehicle follows\b",
    "change": r"\bis in the lane to\b",
}
_EVENT_WAYS = {"turn": r"\bhas turned (left|right)\b", "change": r"\bin the lane to the (left|right)\b"}


def check_events(captions: Captions, record: Record) -> Iterator[str]:
    """Nothing is told that did not happen, or at another time, or the other way."""
    happened = {event.kind for event in record.events}
    for layer, text in _layers(captions):
        said = text.replace(record.instruction.strip().rstrip("."), "")
        for kind, sign in _EVENT_SIGNS.items():
            if re.search(sign, said) and kind not in happened:
                yield f"{layer}: it tells of a {kind} that did not happen"
        for kind, sign in _EVENT_WAYS.items():
            ways = {event.place for event in record.events if event.kind == kind}
            if any(way not in ways for way in re.findall(sign, said)):
                yield f"{layer}: the {kind} goes the other way"
    for seconds, words in re.findall(r"[Aa]t (\d+\.\d+) s ([^;.]+)", captions.feedback):
        kinds = {kind for kind, sign in _EVENT_SIGNS.items() if re.search(sign, words)}
        at = {event.kind for event in record.events if abs(event.step - record.step(seconds)) <= 1}
        if kinds and not kinds & at:
            yield f"feedback: no {' or '.join(sorted(kinds))} happens at {seconds} s"


def check_complete(captions: Captions, record: Record) -> Iterator[str]:
    """What a narrated caption owes: the motion, and every event."""
    if not _STRETCH.search(captions.action):
        yield "action: it tells no motion"
    for kind in sorted({event.kind for event in record.events} & set(_EVENT_SIGNS)):
        if not re.search(_EVENT_SIGNS[kind], captions.feedback):
            yield f"feedback: the {kind} is missing"


def check_end(captions: Captions, record: Record) -> Iterator[str]:
    for layer, text in _layers(captions):
        denies = re.search(r"\b(?:is not done|does not do it|fails)\b", text) is not None
        claims = re.search(r"\b(?:is done|and does it|succeeds)\b", text) is not None
        if (claims and not record.success) or (denies and record.success):
            yield f"{layer}: the task is {'' if record.success else 'not '}done, but it says otherwise"


def _layers(captions: Captions) -> Iterator[tuple[str, str]]:
    values = asdict(captions)
    yield from ((layer, values[layer]) for layer in LAYERS)


CHECKS: tuple[Check, ...] = (
    check_lengths,
    check_axes,
    check_body,
    check_view,
    check_things,
    check_motion,
    check_events,
    check_end,
    check_complete,
)
