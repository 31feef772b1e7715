"""What a body may do, worked out from its card: the numbers that the guard enforces.

Ranges and joint speeds stand in the card. What does not is derived from what does, at the home pose:

- joint acceleration: what is left of a motor's effort after gravity, over the inertia that it moves;
- bodies driven by tool poses: a step of the tool is worth the least joint motion that brings it about, and
  that motion keeps to the joints' limits. So the tool is slow in the directions in which the arm is.

Grippers have a range and no speed: a new opening is a set point of a drive that keeps its own speed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.card.card import Arm, EmbodimentCard
from kinema.card.kinematics import home_joints, link_poses, tool_pose

_GRAVITY_M_S2 = 9.81
_LEAST_EFFORT_SHARE = 0.1  # of the effort that counts as left for motion where gravity takes nearly all
_STEP_RAD = 1e-5


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How fast one arm may go. n: its moving channels, N: its joints.

    columns:      the channels' places in the action; those of an axis-angle vector are `turn` (none or three)
    joints_per:   (N, n) joint motion [rad or m] per motion of the channels
    speed:        (N,) rad/s or m/s; acceleration: (N,) rad/s² or m/s²
    """

    side: str
    joints: tuple[str, ...]
    columns: tuple[int, ...]
    turn: tuple[int, ...]
    joints_per: np.ndarray
    speed: np.ndarray
    acceleration: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Everything that the guard holds. D actions and J joints of all arms, in the card's order."""

    low: np.ndarray  # (D,)
    high: np.ndarray  # (D,)
    motions: tuple[Motion, ...]  # one an arm; none for a body whose actions are not poses
    effort: np.ndarray  # (J,) N m or N
    workspace_m: np.ndarray  # (3, 2)


def limits_of(card: EmbodimentCard) -> Limits:
    """The limits of a card."""
    low, high = np.array([channel.range for channel in card.actions], np.float64).T
    columns = {channel.slot: i for i, channel in enumerate(card.actions)}
    workspace_m = np.array(card.workspace_m, np.float64)
    motions = []
    for arm in card.arms:
        if card.control == "ee_pose":
            motions.append(_tool_motion(arm, columns))
            inner = [(columns[f"{arm.side}.ee.{axis}"], workspace_m[i]) for i, axis in enumerate("xyz")]
        elif card.control == "joint_position":
            motions.append(_joint_motion(arm, columns))
            inner = [(columns[f"{arm.side}.joint.{i}"], j.range) for i, j in enumerate(arm.joints)]
        else:
            inner = []
        for column, (least, most) in inner:
            low[column], high[column] = max(low[column], least), min(high[column], most)
    effort = np.array([joint.effort for arm in card.arms for joint in arm.joints])
    return Limits(low=low, high=high, motions=tuple(motions), effort=effort, workspace_m=workspace_m)


def _joint_motion(arm: Arm, columns: dict[str, int]) -> Motion:
    slots = [f"{arm.side}.joint.{i}" for i in range(len(arm.joints))]
    return _motion(arm, tuple(columns[slot] for slot in slots), (), np.eye(len(slots)))


def _tool_motion(arm: Arm, columns: dict[str, int]) -> Motion:
    place = tuple(columns[f"{arm.side}.ee.{axis}"] for axis in "xyz")
    turn = tuple(columns[f"{arm.side}.rot.{i}"] for i in range(3))
    # Directions that the arm cannot move in at all (a fifth of a radian per metre) cost nothing.
    joints_per = np.linalg.pinv(jacobian(arm, home_joints(arm)), rcond=0.02)
    return _motion(arm, place + turn, turn, joints_per)


def _motion(arm: Arm, columns: tuple[int, ...], turn: tuple[int, ...], joints_per: np.ndarray) -> Motion:
    return Motion(
        side=arm.side,
        joints=tuple(joint.name for joint in arm.joints),
        columns=columns,
        turn=turn,
        joints_per=joints_per,
        speed=np.array([joint.velocity for joint in arm.joints]),
        acceleration=joint_accelerations(arm),
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


def joint_accelerations(arm: Arm) -> np.ndarray:
    """(N,) [rad/s² or m/s²] at the home pose, the links taken as points of their masses."""
    poses = link_poses(arm, home_joints(arm))
    centres = {link.name: poses[link.name] @ np.array([*link.com_m, 1.0]) for link in arm.links}
    masses = {link.name: link.mass_kg for link in arm.links}
    rates = []
    for link in arm.links:
        if link.joint is None or link.joint.name in arm.gripper.fingers:
            continue
        axis = poses[link.name][:3, :3] @ np.array(link.joint.axis)
        inertia = gravity = 0.0
        for name in _carried(arm, link.name):
            arm_m = np.cross(axis, centres[name][:3] - poses[link.name][:3, 3])
            lever = axis if link.joint.type == "slide" else arm_m
            inertia += masses[name] * float(lever @ lever)
            gravity += masses[name] * _GRAVITY_M_S2 * float(lever[2])
        left = max(link.joint.effort - abs(gravity), _LEAST_EFFORT_SHARE * link.joint.effort)
        rates.append(left / max(inertia, 1e-4))
    return np.array(rates)


def _carried(arm: Arm, name: str) -> list[str]:
    """The link and all that hang on it."""
    found = {name}
    for link in arm.links:
        if link.parent in found:
            found.add(link.name)
    return [link.name for link in arm.links if link.name in found]
