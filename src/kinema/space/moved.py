"""How far each slot of a body moved in a stretch of time: what is said of its actions.

Directions are the body's own: forward, left and up are +x, +y and +z of its frame, and a turn to the left, or
counter-clockwise, is positive. Axes: T steps, D native action channels, S native state channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.card.kinematics import tools_in
from kinema.space.codec import ChunkFrame
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

METAWORLD_STEP_M = 0.01  # of a normalised displacement whose card names no step (metaworld 3.1.1)


@dataclass(frozen=True, kw_only=True)
class Grip:
    """A gripper's opening at the beginning and at the end: 0 closed, 1 open."""

    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What happens in a stretch of time.

    amounts: by slot, in SI units: how far positions, rotations and joints move; the mean of speeds
             and steering
    grips:   by side of the arm
    units:   of the amounts that are not in their slot's usual unit: "m" for a joint that slides, "rad" for a
             base that is turned by a steering angle
    """

    amounts: Mapping[str, float]
    grips: Mapping[str, Grip] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def amount(self, slot: str) -> float:
        return self.amounts.get(slot, 0.0)


def moved_by(
    card: EmbodimentCard,
    actions: np.ndarray,
    state: np.ndarray,
    *,
    grips_before: Mapping[str, float] | None = None,
) -> Moved:
    """How actions (T, D), played from state (S,), move each slot.

    grips_before: by side, the opening that was asked for last; by default the measured one.
    Raises ValueError when the shapes do not fit the card.
    """
    if actions.ndim != 2 or actions.shape[1] != len(card.actions) or not len(actions):
        raise ValueError(
            f"actions must be (T >= 1, {len(card.actions)}) for {card.name!r}; got {actions.shape}"
        )
    measured = {channel.slot: float(value) for channel, value in zip(card.states, state)}
    relative = ChunkFrame(card).enter(np.asarray(actions), np.asarray(state))
    amounts, grips, units = {}, {}, {}
    for channel, own, native in zip(card.actions, relative.T, np.asarray(actions, float).T):
        side, _, part = channel.slot.partition(".")
        if part == "gripper":
            before = (grips_before or {}).get(side, measured.get(channel.slot, 1.0))
            grips[side] = Grip(before=before, after=float(channel.opening(native[-1])))
        else:
            if unit := _unit_of(channel):
                units[channel.slot] = unit
            amounts[channel.slot] = _amount(channel, own, native, measured)
    return Moved(amounts=amounts, grips=grips, units=units)


def _amount(
    channel: Channel, relative: np.ndarray, native: np.ndarray, measured: Mapping[str, float]
) -> float:
    if channel.unit == "normalised":
        return (channel.step or METAWORLD_STEP_M) * float(native.sum())
    if ".velocity." in channel.slot:
        return float(native.mean())
    if channel.reference == "first_frame":
        return float(relative[-1])
    return float(native[-1] - measured.get(channel.slot, native[0]))


def tool_moved(card: EmbodimentCard, start: np.ndarray, end: np.ndarray, grips: Mapping[str, Grip]) -> Moved:
    """How the tools of a body commanded by joints move between two native vectors (S,), by its kinematics."""
    read = tools_in(card, [channel.slot for channel in card.states])
    amounts = {
        f"{arm.side}.ee.{axis}": float(d)
        for arm, moved in zip(card.arms, read(end) - read(start))
        for axis, d in zip("xyz", moved)
    }
    return Moved(amounts=amounts, grips=grips)


def tools_displaced(card: EmbodimentCard, start: np.ndarray, end: np.ndarray) -> dict[str, float]:
    """How far tools that are commanded by displacements got between two native states (S,), by slot.

    A displacement moves the tool's target, and the tool may stay far behind. Turns are about the axes of the
    robot's frame.
    """
    state_of = {channel.slot: i for i, channel in enumerate(card.states)}
    commanded = {c.slot for c in card.actions if c.unit == "normalised" and c.slot in state_of}
    amounts = {
        slot: float(end[state_of[slot]] - start[state_of[slot]])
        for slot in sorted(commanded)
        if slot.split(".")[1] == "ee"
    }
    for side in ("left", "right"):
        slots = [f"{side}.rot.{i}" for i in range(3)]
        if commanded.issuperset(slots):
            columns = [state_of[slot] for slot in slots]
            R_start, R_end = (matrix_from_rotvec(state[columns]) for state in (start, end))
            amounts |= zip(slots, rotvec_from_matrix(R_end @ R_start.T).tolist())
    return amounts


def path_moved(start: np.ndarray, end: np.ndarray) -> Moved:
    """The way between two poses (x, y, heading) [m, rad] on the ground, as seen from the first one."""
    cosine, sine = np.cos(start[2]), np.sin(start[2])
    dx, dy = end[:2] - start[:2]
    turn = float((end[2] - start[2] + np.pi) % (2 * np.pi) - np.pi)
    along, left = float(cosine * dx + sine * dy), float(cosine * dy - sine * dx)
    return Moved(amounts={"base.waypoint.x": along, "base.waypoint.y": left, "base.waypoint.theta": turn})


def _unit_of(channel: Channel) -> str:
    """What `Moved.units` says of a channel."""
    usual = channel.unit
    if channel.slot == "base.velocity.theta":
        usual = "rad/s"
    elif channel.slot.split(".")[1] in ("joint", "hand", "waist", "head"):
        usual = "rad"
    return "" if channel.unit == usual else channel.unit
