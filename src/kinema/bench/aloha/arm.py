"""One arm of ALOHA that follows keyframes of its tool by joint targets. Transforms are (4, 4), metres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kinema.card.kinematics import arm_of, tool_pose
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix
from kinema.worlds.body.control import Kinematics

_GAIN = 0.8  # of how far a joint is behind, by which its target is moved ahead; three would swing
_LATE_RAD = 0.2  # at most, of what counts as behind


Aim = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Keyframe:
    """Where a tool is to be at a step of the episode, and how far open its fingers.

    aim: T_world_tool, from T_world_tool as measured and as it was when the keyframe before was reached; asked
         at every step on the way
    """

    step: int
    aim: Aim
    opening: float


class Arm:
    """For one episode; `act` is called once a step. The last keyframe is held."""

    def __init__(
        self, kinematics: Kinematics, side: str, joints: np.ndarray, keyframes: Sequence[Keyframe]
    ) -> None:
        """joints: as measured in the beginning (6,)"""
        self._kinematics, self._side = kinematics, side
        self._arm = arm_of(kinematics.robot.card, side)  # type: ignore[arg-type]
        self._wanted = joints  # where the joints should be
        self._keyframes = list(keyframes)
        self._began = Keyframe(step=0, aim=stay, opening=0.0)
        self._from = tool_pose(self._arm, joints)

    def act(self, step: int, joints: np.ndarray) -> np.ndarray:
        """Targets of the joints and the gripper (7,) for the measured joints (6,)."""
        tool = tool_pose(self._arm, joints)
        while len(self._keyframes) > 1 and step >= self._keyframes[0].step:
            self._began = self._keyframes.pop(0)
            self._from = self._began.aim(tool, self._from)
        to = self._keyframes[0]
        share = min(1.0, (step + 1 - self._began.step) / (to.step - self._began.step))
        aim = _between(self._from, to.aim(tool, self._from), share**2 * (3 - 2 * share))
        late = np.clip(self._wanted - joints, -_LATE_RAD, _LATE_RAD)
        self._wanted = self._kinematics.solve(self._side, aim[:3, 3], aim[:3, :3], self._wanted)
        opening = self._began.opening + share * (to.opening - self._began.opening)
        return np.append(self._wanted + _GAIN * late, opening)


def stay(tool: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The aim of a tool that is to remain where it was."""
    return before


def _between(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """The pose that far on the way: a straight line and an even turn."""
    pose = np.eye(4)
    turn = rotvec_from_matrix(end[:3, :3] @ start[:3, :3].T)
    pose[:3, :3] = matrix_from_rotvec(share * turn) @ start[:3, :3]
    pose[:3, 3] = start[:3, 3] + share * (end[:3, 3] - start[:3, 3])
    return pose
