"""Inverse kinematics of many arms at once, along paths.

Damped least squares (Wampler 1986), drawn to the home pose where the tool leaves a choice. An arm of fewer
than six joints keeps its tool's place, and its direction as far as it can.

Axes: n paths, L places of each, N joints.
"""

from __future__ import annotations

import numpy as np

from kinema.card.batched import tools_of
from kinema.card.card import Arm
from kinema.card.kinematics import home_joints

CLOSE_M = 2e-3
_DAMPING = 1e-4
_HOMEWARD = 0.02  # share of the way to the home pose, in the directions that leave the tool where it is
_SEARCH, _FOLLOW = 40, 2  # iterations for a first place, and for one beside the last
_INSIDE = 1e-3  # of a joint's range that is not used, at either end


def ranges(arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """The joints' lower and upper ends (N,) that paths keep to."""
    low, high = np.array([joint.range for joint in arm.joints]).T
    room = _INSIDE * (high - low)
    return low + room, high - room


def reached(arm: Arm, goal_m: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints (n, N) whose tool is at a goal (n, 3), found from joints (n, N); and how far it is off [m]."""
    joints = _solved(arm, goal_m, start, _SEARCH)
    return joints, _off_m(arm, goal_m, joints)


def followed(arm: Arm, path_m: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints (n, L, N) along tool paths (n, L, 3) from joints (n, N); and how far each path is off (n,)."""
    joints, off_m = [start], _off_m(arm, path_m[:, 0], start)
    for goal_m in np.moveaxis(path_m, 1, 0)[1:]:
        joints.append(_solved(arm, goal_m, joints[-1], _FOLLOW))
        off_m = np.maximum(off_m, _off_m(arm, goal_m, joints[-1]))
    return np.stack(joints, 1), off_m


def _off_m(arm: Arm, goal_m: np.ndarray, joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(tools_of(arm, joints).pos_m - goal_m, axis=1)


def _solved(arm: Arm, goal_m: np.ndarray, joints: np.ndarray, iterations: int) -> np.ndarray:
    home, (low, high) = home_joints(arm), ranges(arm)
    wanted = tools_of(arm, home[None]).rotation
    weight = np.array([1.0] * 3 + [0.2 if len(home) >= 6 else 0.01] * 3)  # m per rad
    for _ in range(iterations):
        tools = tools_of(arm, joints)
        turn = wanted @ np.swapaxes(tools.rotation, 1, 2)
        angular = np.stack([turn[:, 2, 1], turn[:, 0, 2], turn[:, 1, 0]], 1)
        angular = (angular - np.stack([turn[:, 1, 2], turn[:, 2, 0], turn[:, 0, 1]], 1)) / 2
        error = np.concatenate([goal_m - tools.pos_m, angular], 1) * weight
        jacobian = tools.jacobian * weight[:, None]
        gram = jacobian @ np.swapaxes(jacobian, 1, 2) + _DAMPING * np.eye(6)
        homeward = _HOMEWARD * (home - joints)
        asked = error - (jacobian @ homeward[..., None])[..., 0]
        step = np.swapaxes(jacobian, 1, 2) @ np.linalg.solve(gram, asked[..., None])
        joints = np.clip(joints + homeward + step[..., 0], low, high)
    return joints
