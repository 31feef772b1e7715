"""Forward kinematics of many poses of one arm at once. `kinematics.py` has the same for one pose, sooner.

Axes: n poses, N joints of the arm. Metres and radians, in the robot's frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.card.card import Arm, Joint, Link
from kinema.card.values import QuatWxyz


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Where an arm's tool is, and how each joint moves it."""

    pos_m: np.ndarray  # (n, 3)
    rotation: np.ndarray  # (n, 3, 3)
    jacobian: np.ndarray  # (n, 6, N): linear, then angular, per rad or m of a joint


def tools_of(arm: Arm, joints: np.ndarray) -> Tools:
    """The tool of an arm at joints (n, N) in the order of `arm.joints`."""
    if joints.ndim != 2 or joints.shape[1] != len(arm.joints):
        raise ValueError(f"{arm.side} arm has {len(arm.joints)} joints; got values of shape {joints.shape}")
    column = {joint.name: i for i, joint in enumerate(arm.joints)}
    count = len(joints)
    pos_m = np.broadcast_to(np.array(arm.base_pos_m), (count, 3))
    rotation = np.broadcast_to(_matrix(arm.base_quat_wxyz), (count, 3, 3))
    moves: list[tuple[int, Joint, np.ndarray, np.ndarray]] = []  # column, joint, its axis and its place
    for link in _chain(arm):
        pos_m = pos_m + rotation @ np.array(link.pos_m)
        rotation = rotation @ _matrix(link.quat_wxyz)
        if link.joint is None or link.joint.name not in column:
            continue
        axis = np.array(link.joint.axis) / np.linalg.norm(link.joint.axis)
        value = joints[:, column[link.joint.name]]
        moves.append((column[link.joint.name], link.joint, rotation @ axis, pos_m))
        if link.joint.type == "slide":
            pos_m = pos_m + value[:, None] * (rotation @ axis)
        else:
            rotation = rotation @ _turns(axis, value)
    pos_m = pos_m + rotation @ np.array(arm.tool.pos_m)
    rotation = rotation @ _matrix(arm.tool.quat_wxyz)
    jacobian = np.zeros((count, 6, len(arm.joints)))
    for i, joint, axis, place_m in moves:
        hinges = joint.type == "hinge"
        jacobian[:, :3, i] = np.cross(axis, pos_m - place_m) if hinges else axis
        jacobian[:, 3:, i] = axis if hinges else 0.0
    return Tools(pos_m=pos_m, rotation=rotation, jacobian=jacobian)


def _chain(arm: Arm) -> list[Link]:
    """The links from the base to the tool's."""
    by_name, chain, name = {link.name: link for link in arm.links}, [], arm.tool.link
    while name != "base":
        chain.append(by_name[name])
        name = by_name[name].parent
    return chain[::-1]


def _turns(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotations (n, 3, 3) about a unit axis (3,), by Rodrigues' formula."""
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sine, versine = np.sin(angle)[:, None, None], 1 - np.cos(angle)[:, None, None]
    return np.eye(3) + sine * skew + versine * (skew @ skew)


def _matrix(quat_wxyz: QuatWxyz) -> np.ndarray:
    w, x, y, z = np.array(quat_wxyz) / np.linalg.norm(quat_wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
