"""What a card says of planning: the room of each tool, the limits of what moves, the numbers it is told in.

Axes: F frames, D an arm's joints and its opening (0 closed, 1 open), arm after arm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinema.card.batched import Tools, tools_of
from kinema.card.card import Arm, Channel, EmbodimentCard
from kinema.card.kinematics import body_axes, home_joints, home_rotation, tool_pose
from kinema.schema import KinemaError
from kinema.space.rotation import rotvec_from_matrix

PLANNED = ("joint_position", "ee_pose")  # controls whose actions are poses
_MARGIN_M = 0.02  # of the workspace, where no goal lies
_AROUND_HOME = 0.6  # of how far the tool is from the arm's base at home: the half side of its box
_ROUNDING = 1e-9


class Body:
    """Raises KinemaError for a body whose actions are no poses of arms.

    axes: forward, left and up, the columns (3, 3) in the robot's frame
    boxes_m: where each arm's tool goes, in these axes (3, 2); of two arms each keeps to its own side
    velocity, acceleration: the most of each of D, per s and per s²
    """

    def __init__(self, card: EmbodimentCard) -> None:
        if card.control not in PLANNED or not card.arms:
            raise KinemaError(
                f"no trajectories can be planned for {card.name!r}, whose control is {card.control!r}; it "
                f"must be {' or '.join(PLANNED)}, of a body with arms"
            )
        self.card, self.axes = card, body_axes(card)
        self.boxes_m = [_box_m(card, arm, self.axes) for arm in card.arms]
        limits = [_limits(arm) for arm in card.arms]
        self.velocity, self.acceleration = (np.concatenate(each) for each in zip(*limits))
        self._splits = np.cumsum([len(arm.joints) + 1 for arm in card.arms])[:-1]

    def robot_m(self, place_m: np.ndarray) -> np.ndarray:
        """Places (..., 3) in the body's axes in the robot's frame."""
        return place_m @ self.axes.T

    def native(self, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a motion (F, D): states, actions that ask for the same poses, and bool (F,): all are allowed.

        Allowed is what lies in the ranges of all channels, and whose tools are in the workspace.
        """
        low, high = np.array(self.card.workspace_m).T
        by_slot: dict[str, np.ndarray] = {}
        allowed = np.ones(len(motion), bool)
        for arm, own in zip(self.card.arms, np.split(motion, self._splits, 1)):
            tools = tools_of(arm, own[:, :-1])
            allowed &= ((tools.pos_m >= low) & (tools.pos_m <= high)).all(1)
            by_slot |= _by_slot(arm, own, tools)
        for i, joint in enumerate(self.card.torso.joints if self.card.torso else ()):
            by_slot[f"base.waist.{i}"] = np.full(len(motion), joint.home)
        state, action = (self._told(of, by_slot) for of in (self.card.states, self.card.actions))
        for values, channels in ((state, self.card.states), (action, self.card.actions)):
            least, most = np.array([channel.range for channel in channels]).T
            allowed &= ((values >= least - _ROUNDING) & (values <= most + _ROUNDING)).all(1)
            values.clip(least, most, out=values)
        return state, action, allowed

    def _told(self, channels: Sequence[Channel], by_slot: dict[str, np.ndarray]) -> np.ndarray:
        """Values (F, channels) of a body's vector, from what fills its slots."""
        columns = []
        for channel in channels:
            if channel.slot not in by_slot:
                raise KinemaError(
                    f"no trajectories can be planned for {self.card.name!r}: nothing is known of its "
                    f"{channel.name!r}, {channel.slot}"
                )
            values = by_slot[channel.slot]
            if channel.slot.split(".")[1] in ("gripper", "hand"):
                closed, opened = channel.closed_and_open
                values = closed + values * (opened - closed)
            columns.append(values)
        return np.stack(columns, 1)


def _box_m(card: EmbodimentCard, arm: Arm, axes: np.ndarray) -> np.ndarray:
    """The part of the workspace (3, 2) in the body's axes that an arm reaches well, on its own side."""
    corners = axes.T @ np.array(card.workspace_m)
    home_m = tool_pose(arm, home_joints(arm))[:3, 3]
    around_m = _AROUND_HOME * np.linalg.norm(home_m - np.array(arm.base_pos_m))
    low = np.maximum(corners.min(1) + _MARGIN_M, axes.T @ home_m - around_m)
    high = np.minimum(corners.max(1) - _MARGIN_M, axes.T @ home_m + around_m)
    if len(card.arms) == 2 and arm.side == "left":
        low[1] = max(low[1], _MARGIN_M)
    elif len(card.arms) == 2:
        high[1] = min(high[1], -_MARGIN_M)
    return np.stack([low, high], 1)


def _limits(arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """Most speed and acceleration of an arm's joints and its opening, per s and per s²."""
    speed = [joint.velocity for joint in arm.joints]
    force = [joint.acceleration_limit for joint in arm.joints]
    if arm.gripper is None:
        assert arm.hand is not None
        return np.array([*speed, arm.hand.speed]), np.array([*force, np.inf])
    joints = {link.joint.name: link.joint for link in arm.links if link.joint}
    spans = np.abs(np.subtract(arm.gripper.open, arm.gripper.closed))
    fingers = [(joints[name], span) for name, span in zip(arm.fingers, spans) if span]
    speed.append(min(joint.velocity / span for joint, span in fingers))
    force.append(min(joint.acceleration_limit / span for joint, span in fingers))
    return np.array(speed), np.array(force)


def _by_slot(arm: Arm, own: np.ndarray, tools: Tools) -> dict[str, np.ndarray]:
    """What an arm's slots hold (F,) at joints and an opening (F, N + 1); openings from 0 to 1."""
    turn = rotvec_from_matrix(tools.rotation @ home_rotation(arm).T)
    found = {f"joint.{i}": own[:, i] for i in range(own.shape[1] - 1)}
    found |= {f"ee.{axis}": tools.pos_m[:, i] for i, axis in enumerate("xyz")}
    found |= {f"rot.{i}": turn[:, i] for i in range(3)}
    found |= {"gripper": own[:, -1]}
    found |= {f"hand.{i}": own[:, -1] for i in range(len(arm.hand.values) if arm.hand else 0)}
    return {f"{arm.side}.{slot}": values for slot, values in found.items()}
