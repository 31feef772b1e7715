"""What a body may do, as its card says: the numbers that the guard enforces.

A body driven by tool poses keeps to its joints' limits: a step of the tool is worth the least joint motion
that brings it about at the home pose. So the tool is slow in the directions in which the arm is.

Grippers have a range and no speed: a new opening is a set point of a drive that keeps its own speed. The
values of a hand have the speed that its card gives. A body whose actions are velocities or displacements has
ranges alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kinema.card.card import Arm, EmbodimentCard, Joint
from kinema.card.kinematics import home_joints, joints_by_slot, tool_pose
from kinema.space.rotation import composed

LAG_S = 0.1  # of a joint's drive, for one whose card does not say how far a command may be ahead of it
_STEP_RAD = 1e-5


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How one arm may move, or a body with a torso, whose joints all move its tools.

    n: the moving channels, N: the joints, D: all actions of the body.

    columns:      the channels' places in the action; the last of them are `turn`, an axis-angle vector,
                  or there is none
    joints_per:   (N, n) joint motion [rad or m] per motion of the channels
    speed:        (N,) rad/s or m/s; acceleration: (N,) rad/s² or m/s²
    tracking:     (N,) rad or m between command and measured position
    wraps:        (n,) which channels are angles that a driver may report a whole turn away
    """

    side: str  # "left", "right", or "body" with a torso
    joints: tuple[str, ...]
    columns: tuple[int, ...]
    turn: tuple[int, ...]
    joints_per: np.ndarray
    speed: np.ndarray
    acceleration: np.ndarray
    tracking: np.ndarray
    wraps: np.ndarray

    @property
    def part(self) -> str:
        """What it moves, in words."""
        return self.side if self.side == "body" else f"{self.side} arm"

    def between(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Motion of the channels (n,) from one action (D,) to another; a turn is about one axis."""
        step = end - start
        if self.turn:
            turn = list(self.turn)
            step[turn] = composed(-start[turn], end[turn])
        return step[list(self.columns)]

    def moved(self, start: np.ndarray, step: np.ndarray) -> np.ndarray:
        """The action (D,) that a motion of the channels (n,) leads to."""
        action = start.copy()
        action[list(self.columns)] += step
        if self.turn:
            turn = list(self.turn)
            by = np.zeros_like(start)
            by[list(self.columns)] = step
            action[turn] = composed(start[turn], by[turn])
        return action


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the guard holds. D actions; J joints of the arms in the card's order, then a torso's."""

    low: np.ndarray  # (D,)
    high: np.ndarray  # (D,)
    motions: tuple[Motion, ...]  # one an arm, or one with a torso; none where actions are not poses
    speed: np.ndarray  # (D,) 1/s: of a hand's values; inf for what is limited otherwise, or not
    effort: np.ndarray  # (J,) N m or N
    workspace_m: np.ndarray  # (3, 2)


def limits_of(card: EmbodimentCard) -> Limits:
    """The limits of a card."""
    low, high = np.array([channel.range for channel in card.actions], np.float64).T
    columns = {channel.slot: i for i, channel in enumerate(card.actions)}
    workspace_m = np.array(card.workspace_m, np.float64)
    motions: list[Motion] = []
    inner: dict[str, tuple[float, float]] = {}
    if card.control == "ee_pose":
        motions = [_tool_motion(card, arm, columns) for arm in card.arms]
        for axis, (least, most) in zip("xyz", card.workspace_m):
            inner |= {f"{arm.side}.ee.{axis}": (least, most) for arm in card.arms}
    elif card.control == "joint_position":
        joints = joints_by_slot(card)
        inner = {slot: joint.range for slot, joint in joints.items()}
        parts = {"body": ""} if card.torso else {arm.side: f"{arm.side}." for arm in card.arms}
        for side, start in parts.items():
            own = {slot: joint for slot, joint in joints.items() if slot.startswith(start)}
            motions.append(_joint_motion(card, side, own, columns))
    for slot, (least, most) in inner.items():
        column = columns[slot]
        low[column], high[column] = max(low[column], least), min(high[column], most)
    speed = np.full(len(card.actions), np.inf)
    for arm in card.arms:
        if arm.hand is not None:
            speed[[columns[f"{arm.side}.hand.{i}"] for i in range(len(arm.hand.values))]] = arm.hand.speed
    effort = np.array([joint.effort for joint in joints_by_slot(card).values()])
    return Limits(
        low=low, high=high, motions=tuple(motions), speed=speed, effort=effort, workspace_m=workspace_m
    )


def tracking_of(joint: Joint, period_s: float) -> float:
    """How far a command may be from where the joint is [rad or m]."""
    return joint.velocity * (period_s + LAG_S) if joint.tracking is None else joint.tracking


def _joint_motion(
    card: EmbodimentCard, side: str, joints: Mapping[str, Joint], columns: dict[str, int]
) -> Motion:
    own = list(joints.values())
    wraps = np.array([joint.type == "hinge" for joint in own])
    return _motion(card, side, own, tuple(columns[slot] for slot in joints), (), np.eye(len(own)), wraps)


def _tool_motion(card: EmbodimentCard, arm: Arm, columns: dict[str, int]) -> Motion:
    place = tuple(columns[f"{arm.side}.ee.{axis}"] for axis in "xyz")
    turn = tuple(columns[f"{arm.side}.rot.{i}"] for i in range(3))
    # Directions that the arm cannot move in at all (a fifth of a radian per metre) cost nothing.
    joints_per = np.linalg.pinv(jacobian(arm, home_joints(arm)), rcond=0.02)
    return _motion(card, arm.side, arm.joints, place + turn, turn, joints_per, np.zeros(6, bool))


def _motion(
    card: EmbodimentCard,
    side: str,
    joints: Sequence[Joint],
    columns: tuple[int, ...],
    turn: tuple[int, ...],
    joints_per: np.ndarray,
    wraps: np.ndarray,
) -> Motion:
    return Motion(
        side=side,
        joints=tuple(joint.name for joint in joints),
        columns=columns,
        turn=turn,
        joints_per=joints_per,
        speed=np.array([joint.velocity for joint in joints]),
        acceleration=np.array([joint.acceleration_limit for joint in joints]),
        tracking=np.array([tracking_of(joint, 1.0 / card.control_hz) for joint in joints]),
        wraps=wraps,
    )


def jacobian(arm: Arm, joints: np.ndarray) -> np.ndarray:
    """Motion of the tool (6, N), linear then angular in the robot's axes, per joint, by differences."""
    pose = tool_pose(arm, joints)
    columns = []
    for i in range(len(joints)):
        moved = joints.copy()
        moved[i] += _STEP_RAD
        other = tool_pose(arm, moved)
        turn = other[:3, :3] @ pose[:3, :3].T
        angular = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
        columns.append(np.concatenate([other[:3, 3] - pose[:3, 3], angular]) / _STEP_RAD)
    return np.stack(columns, axis=1)
