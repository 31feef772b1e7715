"""An episode in words: five layers of captions, written from what happened and how the body moved.

Motion is told by the one mapping of `space.action_words`, always as "From A to B s the right arm ...", so
that `caption_checks` can read every layer and hold it against the state.
Axes: T steps, S native state channels, D native action channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kinema.card.card import Camera, EmbodimentCard
from kinema.card.kinematics import body_axes, tools_m
from kinema.schema import Captions, KinemaError
from kinema.space.action_words import say
from kinema.space.moved import Grip, Moved, moved_by, path_moved, tools_displaced
from kinema.space.rotation import matrix_from_quat
from kinema.worlds.tabletop.env import families_for
from kinema.worlds.words.events import Aim, Event

LONG_WORDS, SHORT_WORDS = (50, 100), (15, 30)
_SHORTEST_S = 0.3  # of a stretch worth telling
_SCENARIOS = {
    "drive": "on a road with a crossing",
    "waypoints": "in a house",
    "metaworld": "at a table with one task on it",
}
_BLOCKS, _TABLE = "at a table with blocks", "at a table"
_GROUND = ("base.waypoint.x", "base.waypoint.y", "base.waypoint.theta")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of an episode.

    state:    (T, S) before each action
    executed: (T, D) what was sent
    cameras:  whose pictures the clip shows, in their order
    scenario: the place in words: "at a table with blocks"
    """

    card: EmbodimentCard
    instruction: str
    state: np.ndarray
    executed: np.ndarray
    cameras: tuple[str, ...]
    events: tuple[Event, ...]
    success: bool
    scenario: str = "at a table"

    def __post_init__(self) -> None:
        if len(self.state) != len(self.executed) or len(self.state) < 2:
            raise KinemaError(
                f"an episode needs as many states as actions, at least 2; "
                f"got {len(self.state)} and {len(self.executed)}"
            )
        unknown = [name for name in self.cameras if name not in self.card.camera_names]
        if unknown or not self.cameras:
            raise KinemaError(f"{self.card.name} has no cameras {unknown}; it has {self.card.camera_names}")

    @property
    def length(self) -> int:
        return len(self.state)

    @property
    def aim(self) -> Aim:
        return Aim.of(self.instruction)

    def seconds(self, step: int) -> str:
        """In as few digits as tell it from its neighbours, so that `step` reads it back."""
        digits = max(1, int(np.ceil(np.log10(self.card.control_hz))))
        return f"{step / self.card.control_hz:.{digits}f}"

    def step(self, seconds: str) -> int:
        return round(float(seconds) * self.card.control_hz)

    def grips(self, start: int, end: int) -> dict[str, Grip]:
        """What was asked of each gripper before a stretch and at its end."""
        return dict(self.moved(start, end).grips)

    def moved(self, start: int, end: int) -> Moved:
        """How the actions of a stretch move every slot; what they displace, by the way that was covered."""
        before = {
            channel.slot.partition(".")[0]: float(channel.opening(self.executed[start - 1, i]))
            for i, channel in enumerate(self.card.actions)
            if channel.slot.endswith(".gripper") and start > 0
        }
        moved = moved_by(self.card, self.executed[start:end], self.state[start], grips_before=before or None)
        first, last = self.state[[start, min(end, self.length - 1)]]
        slots = [channel.slot for channel in self.card.states]
        if not set(_GROUND) <= set(slots):
            return replace(moved, amounts={**moved.amounts, **tools_displaced(self.card, first, last)})
        columns = [slots.index(slot) for slot in _GROUND]
        way = path_moved(first[columns], last[columns])
        return Moved(amounts={**moved.amounts, **way.amounts}, units=moved.units)

    def tools(self, start: int, end: int) -> Moved:
        """How the tools truly moved in a stretch, whatever the body's commands are."""
        if not self.card.arms:
            return self.moved(start, end)
        way = tools_m(self.card, self.state[[start, min(end, self.length - 1)]]) @ body_axes(self.card)
        amounts = {
            f"{arm.side}.ee.{axis}": float(d)
            for arm, delta in zip(self.card.arms, way[1] - way[0])
            for axis, d in zip("xyz", delta)
        }
        return Moved(amounts=amounts, grips=self.moved(start, end).grips)


def scenario_of(card: EmbodimentCard) -> str:
    """The place in words where our worlds put this body."""
    return _SCENARIOS.get(card.control, _BLOCKS if families_for(card) else _TABLE)


def narrate(record: Record) -> Captions:
    """All five layers of an episode."""
    return Captions(
        goal=f"{_the_body(record)} is asked to {_bare(record.instruction)}.",
        action=f"{view_words(record)} {told(record, stretches(record), record.moved)}",
        feedback=_feedback(record),
        comprehensive=_comprehensive(record),
        concise=_concise(record),
        embodiment=record.card.name,
        task=record.aim.family or "other",
        scenario=record.scenario,
        view="+".join(record.cameras),
    )


def stretches(record: Record, most: int = 6) -> list[tuple[int, int]]:
    """The episode cut where grips, turns and stops happen; too short ones go with their neighbour."""
    wanted = [
        e.step for e in record.events if e.kind in ("grasp", "release", "push", "turn", "stop", "change")
    ]
    cuts, shortest = [0], round(_SHORTEST_S * record.card.control_hz)
    for step in wanted:
        if step - cuts[-1] >= shortest and record.length - step >= shortest and len(cuts) < most:
            cuts.append(step)
    return list(zip(cuts, [*cuts[1:], record.length]))


def told(record: Record, parts: Sequence[tuple[int, int]], how) -> str:  # type: ignore[no-untyped-def]
    """Stretches as sentences; `how` gives the motion of steps [start, end)."""
    return " ".join(
        f"From {record.seconds(start)} to {record.seconds(end)} s {say(how(start, end))}."
        for start, end in parts
    )


def view_words(record: Record) -> str:
    """From where it is seen, and which way left is."""
    cameras = {camera.name: camera for camera in record.card.cameras}
    seen = [_camera_words(record.card, cameras[name]) for name in record.cameras]
    together = f"{', '.join(seen[:-1])}, and {seen[-1]}, side by side" if len(seen) > 1 else seen[0]
    owner = "robot" if record.card.arms else "vehicle"
    return f"Seen by {together}; directions are the {owner}'s own."


def _camera_words(card: EmbodimentCard, camera: Camera) -> str:
    if camera.mount != "world":
        carrier = "vehicle" if camera.mount == "base" else "robot"
        return f"the {camera.name} camera, which moves with the {carrier}"
    way = "which faces the robot" if faces_robot(card, camera) else "which looks the robot's way"
    return f"the fixed {camera.name} camera, {way}"


def faces_robot(card: EmbodimentCard, camera: Camera) -> bool:
    """Whether the robot's left is on the right of its pictures."""
    picture_right = matrix_from_quat(np.array(camera.quat_wxyz))[:, 0]
    return bool(picture_right @ body_axes(card)[:, 1] > 0)


_FEEDBACK: Mapping[str, str] = {
    "grasp": "the jaws meet the {thing} and hold it",
    "lift": "the {thing} leaves the table",
    "release": "the jaws let go of the {thing}",
    "place": "the {thing} rests {at} the {place}",
    "push": "the {thing} begins to slide",
    "arrive": "the {thing} reaches the {place}",
    "press": "the {thing} goes down",
    "open": "the {thing} stands open",
    "close": "the {thing} is shut",
    "raise": "the {thing} hangs in the air",
    "turn": "the vehicle has turned {place}",
    "change": "the vehicle is in the lane to the {place}",
    "follow": "the vehicle follows the {thing}",
    "stop": "the vehicle stands still",
}
PLACES_IN = ("bowl", "box")


def event_words(event: Event) -> str:
    """What an event did to the things."""
    if event.kind == "lift" and not event.thing:
        return "the object is lifted"  # from what is not known
    at = "in" if event.place.endswith(PLACES_IN) else "on"
    return _FEEDBACK[event.kind].format(thing=event.thing or "object", place=event.place or "table", at=at)


def _feedback(record: Record) -> str:
    said = [f"at {record.seconds(event.step)} s {event_words(event)}" for event in record.events]
    if not said and not _is_watched(record):
        return _verdict(record)
    none = "nothing is taken or moved" if record.card.arms else "the vehicle keeps going its way"
    first = "; ".join(said) if said else none
    return f"{first[0].upper()}{first[1:]}. {_verdict(record)}"


def _is_watched(record: Record) -> bool:
    """Whether no event means that nothing happened: what is not understood names nothing to watch."""
    return bool(record.aim.family) or not record.card.arms


def _verdict(record: Record) -> str:
    if record.success:
        return f"The task is done after {record.seconds(record.length)} s."
    return f"The task is not done after {record.seconds(record.length)} s."


def _comprehensive(record: Record) -> str:
    """Who, where, what for, how it moved and what came of it; shortened and filled to 50 to 100 words."""
    frame = [
        f"{_the_body(record)} is at work {record.scenario}, seen by {_cameras(record)}.",
        f"It is asked to {_bare(record.instruction)}.",
    ]
    for most, events in ((3, 3), (3, 2), (2, 3), (2, 2), (2, 1), (1, 2), (1, 1)):
        motion = told(record, stretches(record, most), lambda a, b: _main_motion(record, a, b))
        sentences = [*frame, motion, *_happened(record, events), _verdict(record)]
        if len(" ".join(sentences).split()) <= LONG_WORDS[1]:
            break
    else:
        sentences = [*frame, *_happened(record, 1), _verdict(record)]
    for filler in (
        "Directions are given as the body itself has them, not as the picture shows them.",
        "Times are counted in seconds from the first picture, and the views show the same moment.",
        "Nothing else in the scene is meant to be touched, and the cameras keep their settings throughout.",
    ):
        if len(" ".join(sentences).split()) < LONG_WORDS[0]:
            sentences.insert(-1, filler)
    return " ".join(sentences)


def _main_motion(record: Record, start: int, end: int) -> Moved:
    """The tools' own way; an arm that hardly moves and keeps its gripper is left out."""
    moved = record.tools(start, end)
    if not record.card.arms:
        return moved
    busy = [arm.side for arm in record.card.arms if _busy(moved, arm.side)] or [record.card.arms[-1].side]
    return Moved(
        amounts={slot: value for slot, value in moved.amounts.items() if slot.partition(".")[0] in busy},
        grips={side: grip for side, grip in moved.grips.items() if side in busy},
    )


def _busy(moved: Moved, side: str) -> bool:
    way = np.linalg.norm([moved.amount(f"{side}.ee.{axis}") for axis in "xyz"])
    grip = moved.grips.get(side)
    return bool(way > 0.02) or (grip is not None and abs(grip.after - grip.before) > 0.3)


def _happened(record: Record, most: int) -> tuple[str, ...]:
    """The last events in one sentence; none where nothing is known of them."""
    said = list(dict.fromkeys(event_words(event) for event in record.events if event.kind != "lift"))
    if not said and not _is_watched(record):
        return ()
    if not said:
        return ("No thing is taken or moved." if record.card.arms else "The vehicle keeps going its way.",)
    text = ", then ".join(said[-most:])
    return (f"{text[0].upper()}{text[1:]}.",)


def _concise(record: Record) -> str:
    end = "and does it" if record.success else "but does not do it"
    said = [event_words(event) for event in record.events]
    gist = f"; at last {said[-1]}" if said else ""
    text = (
        f"{_the_body(record)}, seen by {_cameras(record)}, is asked to "
        f"{_bare(record.instruction)} {end}{gist}."
    )
    for shorter in (gist, f", seen by {_cameras(record)},"):
        if len(text.split()) > SHORT_WORDS[1]:
            text = text.replace(shorter, "", 1)
    return (
        text
        if len(text.split()) >= SHORT_WORDS[0]
        else f"Here, {record.scenario}, {text[0].lower()}{text[1:]}"
    )


def _the_body(record: Record) -> str:
    return f"The {record.card.robot_tag}"


def _cameras(record: Record) -> str:
    names = [f"the {name}" for name in record.cameras]
    if len(names) == 1:
        return f"{names[0]} camera"
    return f"{', '.join(names[:-1])} and {names[-1]} cameras"


def _bare(instruction: str) -> str:
    return instruction.strip().rstrip(".")
