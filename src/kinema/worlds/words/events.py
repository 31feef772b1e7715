"""What happened in an episode: grasped, lifted, let go, placed, pushed, pressed, opened, raised.

`Watcher` reads it from the true state while an episode is played; `recorded_events` finds it in the numbers
of a recorded episode, where no simulator runs. Axes: T steps, S states, D actions, V cameras, P points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import tool_pose
from kinema.schema import KinemaError
from kinema.worlds.road.goals import read_goal
from kinema.worlds.road.lanes import LANE_M
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.experts.motion import SECURE_N
from kinema.worlds.tabletop.families import family_named
from kinema.worlds.tabletop.parse import parse_instruction

KINDS = (
    "grasp", "lift", "release", "place", "push", "arrive", "press", "open", "close", "raise",
    "turn", "change", "follow", "stop",
)  # fmt: skip
_DONE = {
    "pick_place": "place", "stack": "place", "push": "arrive", "button": "press", "lift_two_arms": "raise",
    "tidy": "place",
}  # fmt: skip
_LIFT_M = 0.02
_FLEETING = 3  # steps
_SHUT, _GAP = 0.5, (0.06, 0.94)  # asked for less than this; stopped by something between the jaws
_SLID = 0.02  # of the picture's width


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened. `side`: the arm that did it, empty where none or any did."""

    step: int
    kind: str
    thing: str = ""
    place: str = ""
    side: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise KinemaError(f"unknown event {self.kind!r}; choices: {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What a sentence asks for, in the nouns of the captions; empty where it does not say."""

    family: str = ""
    thing: str = ""
    place: str = ""
    opens: bool = True

    @classmethod
    def of(cls, instruction: str) -> Aim:
        """Reads a sentence of the tabletop; any other sentence gives an aim without names."""
        try:
            request = parse_instruction(instruction)
        except KinemaError:
            goal = read_goal(instruction)
            return cls(family=f"road/{goal.name}", thing=goal.thing) if goal else cls()
        thing, place = family_named(request.family).named(request.thing, request.place, request.kind)
        return cls(family=request.family, thing=thing, place=place, opens=request.kind != "close")

    @property
    def done(self) -> str:
        """The kind of event with which it is reached."""
        return ("open" if self.opens else "close") if self.family == "drawer" else _DONE.get(self.family, "")


class Watcher:
    """Collects the events of one tabletop episode. Ask `look` before every step, and once after the last."""

    def __init__(self, env: TabletopEnv) -> None:
        self._env, self._aim, self._step = env, Aim.of(env.instruction), 0
        self._held: dict[str, str] = {}
        self._lifted: set[str] = set()
        self._inside: set[str] = set()
        self._start = {block.name: block.position(env.scene.data) for block in self._blocks()}
        self._done = False
        self._seen: list[Event] = []

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened so far, without grips that were lost at once."""
        kept: list[Event] = []
        for event in self._seen:
            last = kept[-1] if kept else None
            if (
                event.kind == "release"
                and last
                and last.kind == "grasp"
                and event.step - last.step < _FLEETING
            ):
                kept.pop()
            else:
                kept.append(event)
        return tuple(kept)

    def look(self) -> None:
        """Compare the present state with the one before."""
        if self._aim.family in ("pick_place", "stack", "tidy"):
            for block in self._blocks():
                self._look_at_block(block)
        if self._aim.family == "push":
            self._look_for_push()
        if self._aim.family != "tidy" and not self._done and self._env.success():
            self._done = True
            self._add(self._aim.done, self._aim.thing, self._aim.place)
        self._step += 1

    def _blocks(self) -> list:
        return [b for b in getattr(self._env.task, "blocks", []) if not b.parked]

    def _look_at_block(self, block) -> None:  # type: ignore[no-untyped-def]
        scene, name, thing = self._env.scene, block.name, f"{block.color} block"
        squeezed = [h.side for h in scene.robot.arms if scene.pinch_n(block.body, h.side) > SECURE_N]
        if squeezed and name not in self._held:
            self._held[name] = squeezed[0]
            self._add("grasp", thing, side=squeezed[0])
        elif name in self._held and not squeezed and not scene.touched(block.body):
            self._add("release", thing, side=self._held.pop(name))
            self._lifted.discard(name)
        height = block.position(scene.data)[2] - self._start[name][2]
        if name in self._held and name not in self._lifted and height > _LIFT_M:
            self._lifted.add(name)
            self._add("lift", thing, side=self._held[name])
        loose = name not in self._held and name not in self._inside
        if self._aim.family == "tidy" and loose and self._env.task.inside(scene, block):  # type: ignore[attr-defined]
            self._inside.add(name)
            self._add("place", thing, self._aim.place)

    def _look_for_push(self) -> None:
        block = self._env.task.target  # type: ignore[attr-defined]
        moved = block.position(self._env.scene.data) - self._start[block.name]
        if np.linalg.norm(moved[:2]) > 0.01 and all(event.kind != "push" for event in self._seen):
            self._add("push", f"{block.color} block", side="right")

    def _add(self, kind: str, thing: str, place: str = "", side: str = "") -> None:
        self._seen.append(Event(step=self._step, kind=kind, thing=thing, place=place, side=side))


def recorded_events(
    card: EmbodimentCard,
    instruction: str,
    *,
    state: np.ndarray,
    executed: np.ndarray,
    success: bool,
    points: np.ndarray | None = None,
) -> tuple[Event, ...]:
    """The events of a recorded episode: state (T, S), executed actions (T, D), points (T, V, P, 3)."""
    if card.control == "drive":
        return drive_events(card, instruction, state=state, success=success)
    aim, last = Aim.of(instruction), max(0, len(state) - 2)  # the recorder lingers after success
    found: list[Event] = []
    if aim.family in ("pick_place", "stack", "tidy", ""):
        tools = tools_m(card, state) if card.control != "metaworld" else np.zeros((len(state), 0, 3))
        for i, arm in enumerate(card.arms[: tools.shape[1]]):
            found += _grasps(card, arm.side, aim, state, executed, tools[:, i, 2], success)
    if aim.family == "push" and points is not None:
        slid = np.linalg.norm(points[:, 0, 0, :2] - points[0, 0, 0, :2], axis=1) > _SLID
        found += [
            Event(step=int(i), kind="push", thing=aim.thing, side="right") for i in slid.nonzero()[0][:1]
        ]
    if success and aim.done and aim.family != "tidy":
        found.append(Event(step=last, kind=aim.done, thing=aim.thing, place=aim.place))
    return tuple(sorted(found, key=lambda event: event.step))


_TURNED_RAD, _STOOD_M_S = np.radians(70), 0.15


def drive_events(
    card: EmbodimentCard, instruction: str, *, state: np.ndarray, success: bool
) -> tuple[Event, ...]:
    """What a car did, told from its states (T, S): turned, changed lane, stood still, followed to the end."""
    slots = [channel.slot for channel in card.states]
    x, y, heading, speed = (
        state[:, slots.index(f"base.{name}")]
        for name in ("waypoint.x", "waypoint.y", "waypoint.theta", "velocity.x")
    )
    turned = np.unwrap(heading) - heading[0]
    aside = np.cos(heading[0]) * (y - y[0]) - np.sin(heading[0]) * (x - x[0])
    straight = np.maximum.accumulate(np.abs(turned)) < 0.5 * _TURNED_RAD
    found: list[Event] = []

    def first(flags: np.ndarray, kind: str, thing: str = "", place: str = "") -> None:
        found.extend(Event(step=int(i), kind=kind, thing=thing, place=place) for i in flags.nonzero()[0][:1])

    first(turned > _TURNED_RAD, "turn", place="left")
    first(turned < -_TURNED_RAD, "turn", place="right")
    first(straight & (aside > 0.75 * LANE_M), "change", place="left")
    first(straight & (aside < -0.75 * LANE_M), "change", place="right")
    first(speed < _STOOD_M_S, "stop")
    thing = Aim.of(instruction).thing
    if success and thing:
        found.append(Event(step=max(0, len(state) - 2), kind="follow", thing=thing))
    return tuple(sorted(found, key=lambda event: event.step))


def _grasps(
    card: EmbodimentCard,
    side: str,
    aim: Aim,
    state: np.ndarray,
    executed: np.ndarray,
    height: np.ndarray,
    success: bool,
) -> Iterator[Event]:
    """Something is held while jaws that are told to close stand still, apart."""
    asked, measured = _column(card.actions, side, executed), _column(card.states, side, state)
    if asked is None or measured is None:
        return
    still = np.abs(np.diff(measured, append=measured[-1])) < 0.02
    between = (measured > _GAP[0]) & (measured < _GAP[1])
    runs = _runs((asked < _SHUT) & still & between)
    for i, (start, end) in enumerate(runs):
        yield Event(step=start, kind="grasp", thing=aim.thing, side=side)
        risen = np.flatnonzero(height[start:end] > height[start] + _LIFT_M)
        if len(risen):
            yield Event(step=start + int(risen[0]), kind="lift", thing=aim.thing, side=side)
        if end >= len(state):
            continue
        yield Event(step=end, kind="release", thing=aim.thing, side=side)
        if success and len(risen) and aim.family == "tidy" and i == len(runs) - 1:
            yield Event(step=max(end, len(state) - 2), kind="place", thing=aim.thing, place=aim.place)


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Stretches (first, one past last) of three true steps or more, with gaps of two bridged."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    runs: list[tuple[int, int]] = []
    for start, end in edges.reshape(-1, 2):
        if runs and start - runs[-1][1] <= 2:
            runs[-1] = (runs[-1][0], int(end))
        else:
            runs.append((int(start), int(end)))
    return [(start, end) for start, end in runs if end - start >= 3]


def _column(channels: tuple, side: str, values: np.ndarray) -> np.ndarray | None:
    slots = [channel.slot for channel in channels]
    return values[:, slots.index(f"{side}.gripper")] if f"{side}.gripper" in slots else None


def tools_m(card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
    """Tool positions (T, arms, 3) [m] of native states (T, S), read or computed by the card's kinematics."""
    slots = [channel.slot for channel in card.states]
    tools = np.zeros((len(state), len(card.arms), 3))
    for i, arm in enumerate(card.arms):
        if f"{arm.side}.ee.x" in slots:
            tools[:, i] = state[:, [slots.index(f"{arm.side}.ee.{axis}") for axis in "xyz"]]
        else:
            columns = [j for j, slot in enumerate(slots) if slot.startswith(f"{arm.side}.joint.")]
            tools[:, i] = [tool_pose(arm, row[columns])[:3, 3] for row in state]
    return tools
