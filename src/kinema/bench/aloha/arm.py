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
_FROM_AFAR = 60  # iterations of inverse kinematics, at most, from where an episode begins

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
    """For one episode; `act` is called once a step. The last keyframe is held.

    An episode begins with straight wrists, from where a tool that goes straight turns forearm and wrist by
    half a turn, this way or that by chance. So it is the joints that go straight to the first keyframe, and
    the tool to all others.
    """

    def __init__(
        self, kinematics: Kinematics, side: str, joints: np.ndarray, keyframes: Sequence[Keyframe]
    ) -> None:
        """joints: as measured in the beginning (6,)"""
        self._kinematics, self._side = kinematics, side
        self._arm = arm_of(kinematics.robot.card, side)  # type: ignore[arg-type]
        self._rested = self._wanted = joints  # where the joints were, and should be
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
        late = np.clip(self._wanted - joints, -_LATE_RAD, _LATE_RAD)
        self._wanted = self._on_the_way(to.aim(tool, self._from), share**2 * (3 - 2 * share))
        opening = self._began.opening + share * (to.opening - self._began.opening)
        return np.append(self._wanted + _GAIN * late, opening)

    def _on_the_way(self, to: np.ndarray, share: float) -> np.ndarray:
        """Joints (6,) that far on the way from the keyframe before."""
        if self._began.step == 0:
            return self._rested + share * (self._solve(to, self._rested, _FROM_AFAR) - self._rested)
        return self._solve(_between(self._from, to, share), self._wanted)

    def _solve(self, tool: np.ndarray, start: np.ndarray, iterations: int = 12) -> np.ndarray:
        return self._kinematics.solve(self._side, tool[:3, 3], tool[:3, :3], start, iterations)


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
