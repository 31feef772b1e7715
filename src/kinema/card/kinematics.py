"""Forward kinematics of a card's arm, in plain numpy. Transforms are (4, 4) float64, metres and radians."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinema.card.card import Arm, EmbodimentCard, Gripper, Joint, QuatWxyz, Side, Vec3


def arm_of(card: EmbodimentCard, side: Side) -> Arm:
    """The card's arm on this side. Raises ValueError naming the sides that exist."""
    for arm in card.arms:
        if arm.side == side:
            return arm
    raise ValueError(f"card {card.name!r} has no {side!r} arm; sides: {[arm.side for arm in card.arms]}")


def home_joints(arm: Arm) -> np.ndarray:
    """The arm's home pose (N,) [rad or m], in the order of `arm.joints`."""
    return np.array([joint.home for joint in arm.joints], np.float64)


def finger_positions(gripper: Gripper, opening: float) -> np.ndarray:
    """Joint value of each finger (F,) [m or rad] for an opening from 0 (closed) to 1 (open)."""
    closed, opened = np.array(gripper.closed), np.array(gripper.open)
    return closed + opening * (opened - closed)


def gripper_opening(gripper: Gripper, positions: Sequence[float]) -> float:
    """The opening (0 closed, 1 open, not clipped) that best explains finger positions (F,) [m or rad]."""
    closed, opened = np.array(gripper.closed), np.array(gripper.open)
    return float((np.asarray(positions) - closed) @ (opened - closed) / np.sum((opened - closed) ** 2))


def link_poses(arm: Arm, joints: Sequence[float] | np.ndarray, opening: float = 0.0) -> dict[str, np.ndarray]:
    """Pose T_robot_link of every link, and of "base", by link name.

    joints: (N,) [rad or m] in the order of `arm.joints`; opening: the gripper, 0 closed to 1 open.
    Raises ValueError when the number of joints differs from the arm's.
    """
    own = arm.joints
    if len(joints) != len(own):
        raise ValueError(
            f"{arm.side} arm has {len(own)} joints {[j.name for j in own]}; got {len(joints)} values"
        )
    value = {joint.name: float(q) for joint, q in zip(own, joints)}
    value.update(zip(arm.gripper.fingers, finger_positions(arm.gripper, opening).tolist()))
    poses = {"base": _pose(arm.base_pos_m, arm.base_quat_wxyz)}
    for link in arm.links:
        pose = poses[link.parent] @ _pose(link.pos_m, link.quat_wxyz)
        if link.joint is not None:
            pose = pose @ _motion(link.joint, value[link.joint.name])
        poses[link.name] = pose
    return poses


def tool_pose(arm: Arm, joints: Sequence[float] | np.ndarray) -> np.ndarray:
    """Pose T_robot_tool of the tool centre point for joints (N,) in the order of `arm.joints`."""
    return link_poses(arm, joints)[arm.tool.link] @ _pose(arm.tool.pos_m, arm.tool.quat_wxyz)


def home_rotation(arm: Arm) -> np.ndarray:
    """R_home (3, 3): the tool's orientation in the robot's frame that the zero rotation vector stands for."""
    return _quat_matrix(arm.tool.home_quat_wxyz)


def _pose(pos_m: Vec3, quat_wxyz: QuatWxyz) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = _quat_matrix(quat_wxyz)
    pose[:3, 3] = pos_m
    return pose


def _motion(joint: Joint, value: float) -> np.ndarray:
    axis = np.array(joint.axis) / np.linalg.norm(joint.axis)
    if joint.type == "slide":
        return _pose(tuple(axis * value), (1.0, 0.0, 0.0, 0.0))
    sine = np.sin(value / 2)
    x, y, z = (axis * sine).tolist()
    return _pose((0.0, 0.0, 0.0), (float(np.cos(value / 2)), x, y, z))


def _quat_matrix(quat_wxyz: QuatWxyz) -> np.ndarray:
    """Matrix (3, 3) of a quaternion of any length. (`space.rotation` is out of reach: space imports card.)"""
    w, x, y, z = np.array(quat_wxyz) / np.linalg.norm(quat_wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
