"""What an action, a state and a picture of SimplerEnv are: said by both sides, compared before a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import gripper_of, home_rotation, tool_pose
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

CARD = "widowx_simpler"
DIGITS = 4  # to which numbers are compared: 0.1 mm
CLEARANCE_M = 0.001  # fingers are told to go so far beyond their ends, so that they press
POSTURE_RAD = (-0.3, 0.2, 0.4, 0.3, 1.2, -0.2)  # in which both say where the tool is
PICTURE_PX = (640, 480)


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """The simulator's are tried out on its running controller, ours follow from the card.

    moves:     by how much the tool's target moves and turns for 0.01 of each action: x, y, z [m] and the
               rotation vector [rad] in the robot's frame
    turns:     of three numbers together, the rotation vector that the target turns by
    fingers:   where the fingers are told to go by a gripper's 0 and 1 [m]
    tool:      position [m] and rotation vector from straight down [rad] in `POSTURE_RAD`
    cameras:   names in order
    """

    control_hz: float
    moves: tuple[tuple[float, ...], ...]
    turns: tuple[float, ...]
    fingers: tuple[float, ...]
    tool: tuple[float, ...]
    cameras: tuple[str, ...]
    picture_px: tuple[int, int]


TRIED = 0.01  # of each action alone
TURNED = (0.1, -0.2, 0.15)  # together, where the order of turns shows


def of_card(card: EmbodimentCard) -> Conventions:
    """What our side stands by."""
    arm = card.arms[0]
    fingers = gripper_of(arm)
    steps = [channel.step or 0.0 for channel in card.actions[:6]]
    T_robot_tool = tool_pose(arm, np.array(POSTURE_RAD))
    turn = rotvec_from_matrix(T_robot_tool[:3, :3] @ home_rotation(arm).T)
    return Conventions(
        control_hz=card.control_hz,
        moves=tuple(rounded(row) for row in TRIED * np.diag(steps)),
        turns=rounded(np.array(TURNED) * steps[3:]),
        fingers=rounded([fingers.closed[0] - CLEARANCE_M, fingers.open[0] + CLEARANCE_M]),
        tool=rounded([*T_robot_tool[:3, 3], *turn]),
        cameras=card.camera_names,
        picture_px=PICTURE_PX,
    )


def taken(action: np.ndarray) -> np.ndarray:
    """What ManiSkill 3 takes (7,) for a native action (7,).

    It reads a turn as Euler angles, R_x R_y R_z, where SimplerEnv's first simulator (ManiSkill 2) and its
    policies mean a rotation vector; its gripper closes at -1 and opens at 1.
    """
    R = matrix_from_rotvec(np.asarray(action[3:6], np.float64))
    angles = np.arctan2(-R[1, 2], R[2, 2]), np.arcsin(np.clip(R[0, 2], -1, 1)), np.arctan2(-R[0, 1], R[0, 0])
    return np.concatenate([action[:3], angles, [2.0 * action[6] - 1.0]])


def rounded(numbers: Any) -> tuple[float, ...]:
    return tuple(round(float(number), DIGITS) + 0.0 for number in numbers)
