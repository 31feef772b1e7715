"""Events of a recorded episode, found in its numbers: no simulator runs.

Axes: T steps, S states, D actions, V cameras, P points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.card.kinematics import tools_m
from kinema.worlds.road.lanes import LANE_M
from kinema.worlds.words.events import CARRIES, LIFT_M, Aim, Event

_SHUT, _GAP = 0.5, (0.06, 0.94)  # asked for less than this; stopped by something between the jaws
_STILL = 0.2  # of an opening in a second
_HELD_S, _LOST_S = 0.3, 0.2  # something is held for so long or longer; it is not lost for so short
_SLID = 0.02  # of the picture's width
_TURNED_RAD, _STOOD_M_S = np.radians(70), 0.15


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
    if card.control == "waypoints":
        return ()  # nothing is taken, and the way itself is told from the poses
    aim, last = Aim.of(instruction), max(0, len(state) - 2)  # the recorder lingers after success
    found: list[Event] = []
    if aim.family in (*CARRIES, ""):
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
    """Something is held while jaws that were seen to close, and are told to, stand still, apart."""
    asked, measured = _opening(card.actions, side, executed), _opening(card.states, side, state)
    if asked is None or measured is None:
        return
    hz = card.control_hz
    still = np.abs(np.diff(measured, append=measured[-1])) < _STILL / hz
    between = (measured > _GAP[0]) & (measured < _GAP[1])
    runs = _runs((asked < _SHUT) & still & between, round(_HELD_S * hz), round(_LOST_S * hz))
    runs = [run for run in runs if measured[: run[0] + 1].max() > measured[run[0]] + _GAP[0]]
    for i, (start, end) in enumerate(runs):
        yield Event(step=start, kind="grasp", thing=aim.thing, side=side)
        risen = np.flatnonzero(height[start:end] > height[start] + LIFT_M)
        if len(risen):
            yield Event(step=start + int(risen[0]), kind="lift", thing=aim.thing, side=side)
        if end >= len(state):
            continue
        yield Event(step=end, kind="release", thing=aim.thing, side=side)
        if success and len(risen) and aim.family == "tidy" and i == len(runs) - 1:
            yield Event(step=max(end, len(state) - 2), kind="place", thing=aim.thing, place=aim.place)


def _runs(flags: np.ndarray, shortest: int, gap: int) -> list[tuple[int, int]]:
    """Stretches (first, one past last) of `shortest` true steps or more, with gaps of `gap` bridged."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    runs: list[tuple[int, int]] = []
    for start, end in edges.reshape(-1, 2):
        if runs and start - runs[-1][1] <= gap:
            runs[-1] = (runs[-1][0], int(end))
        else:
            runs.append((int(start), int(end)))
    return [(start, end) for start, end in runs if end - start >= shortest]


def _opening(channels: Sequence[Channel], side: str, values: np.ndarray) -> np.ndarray | None:
    found = (i for i, channel in enumerate(channels) if channel.slot == f"{side}.gripper")
    column = next(found, None)
    return None if column is None else channels[column].opening(values[:, column])
