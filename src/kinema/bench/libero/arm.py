"""LIBERO's arm as skills drive it: where the tool is, and the native action that brings it nearer to a grip.

A skill is a generator of native actions (7,) that looks at the simulator before each one and ends when it is
done or out of patience. Positions [m] and turns are the world's. Runs in LIBERO's own environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kinema.space.rotation import rotvec_from_matrix

Skill = Iterator[np.ndarray]
UP = np.array([0.0, 0.0, 1.0])
OPEN, CLOSED = -1.0, 1.0
_STEP_M, _STEP_RAD = 0.05, 0.5  # of an action of 1
_GAIN = 3.0  # the target moves on from where the tool is, and the tool lags behind it
_FASTEST_TURN = 0.5  # of an action
_PATIENCE_STEPS = 60
_CLOSING_STEPS = 20


@dataclass(frozen=True)
class Grip:
    """Where the tool is to be, along which direction it points, and along which one its jaws close."""

    position_m: np.ndarray
    approach: np.ndarray
    jaws: np.ndarray

    def back(self, by_m: float) -> Grip:
        return replace(self, position_m=self.position_m - by_m * self.approach)

    def shifted(self, by_m: np.ndarray) -> Grip:
        return replace(self, position_m=self.position_m + by_m)

    def at(self, position_m: np.ndarray) -> Grip:
        return replace(self, position_m=position_m)

    def flipped(self, sign: int) -> Grip:
        """With -1 the same for two fingers, and half a turn for the arm."""
        return replace(self, jaws=sign * self.jaws)

    @property
    def rotation(self) -> np.ndarray:
        """From the tool's axes to the world's, (3, 3)."""
        return np.stack([np.cross(self.jaws, self.approach), self.jaws, self.approach], axis=1)


class Arm:
    """env: LIBERO's evaluation environment."""

    def __init__(self, env: Any) -> None:
        self._sim, (self._robot,) = env.sim, env.robots

    @property
    def tool_m(self) -> np.ndarray:
        """Between the finger tips, (3,)."""
        return np.array(self._sim.data.get_site_xpos(self._robot.gripper.important_sites["grip_site"]))

    @property
    def rotation(self) -> np.ndarray:
        """From the tool's axes to the world's, (3, 3): x across the fingers, y along the jaws, z ahead."""
        return np.array(self._sim.data.get_body_xmat(self._robot.robot_model.eef_name)).reshape(3, 3)

    @property
    def opening_m(self) -> float:
        left, right = (self._sim.data.get_joint_qpos(name) for name in self._robot.gripper.joints)
        return float(left - right)

    def grip(self) -> Grip:
        """Where the tool is now."""
        return Grip(self.tool_m, self.rotation[:, 2], self.rotation[:, 1])

    def spared(self, grip: Grip, on_the_way: Grip | None = None) -> Grip:
        """Of the two ways to hold the jaws that which turns the last joint less, there or on the way."""
        last_rad = self._sim.data.get_joint_qpos(self._robot.robot_model.joints[-1])

        def strain_rad(sign: int) -> float:
            return abs(last_rad + self.turn_rad((on_the_way or grip).flipped(sign)) @ self.rotation[:, 2])

        return grip.flipped(min((1, -1), key=strain_rad))

    def turn_rad(self, grip: Grip) -> np.ndarray:
        """The rotation vector from the tool's attitude to the grip's, in the world."""
        return rotvec_from_matrix(grip.rotation @ self.rotation.T)

    def towards(self, grip: Grip, fingers: float) -> np.ndarray:
        """A native action (7,)."""
        move = _limited(_GAIN * (grip.position_m - self.tool_m) / _STEP_M, 1.0)
        turn = _limited(_GAIN * self.turn_rad(grip) / _STEP_RAD, _FASTEST_TURN)
        return np.concatenate([move, turn, [fingers]])

    def near(self, grip: Grip, near_m: float, near_rad: float) -> bool:
        far_m, far_rad = np.linalg.norm(grip.position_m - self.tool_m), np.linalg.norm(self.turn_rad(grip))
        return bool(far_m < near_m and far_rad < near_rad)


def _limited(vector: np.ndarray, longest: float) -> np.ndarray:
    return np.asarray(vector * min(1.0, longest / max(float(np.linalg.norm(vector)), 1e-9)))


def go(arm: Arm, to: Callable[[], Grip], fingers: float, near_m: float = 0.012) -> Skill:
    """To where a grip is at each moment. Through it without a halt, where it need not be met exactly."""
    for _ in range(_PATIENCE_STEPS):
        if arm.near(to(), near_m, 10 * near_m):
            return
        yield arm.towards(to(), fingers)


def close(arm: Arm, at: Callable[[], Grip]) -> Skill:
    """Until the fingers do not move any more."""
    before_m = np.inf
    for step in range(_CLOSING_STEPS):
        if step > 3 and before_m - arm.opening_m < 5e-4:
            return
        before_m = arm.opening_m
        yield arm.towards(at(), CLOSED)


def let_go(arm: Arm, steps: int = 4) -> Skill:
    here = arm.grip()
    for _ in range(steps):
        yield arm.towards(here, OPEN)


def leave(arm: Arm, back_m: float, near_m: float) -> Skill:
    """Let go, and back off."""
    yield from let_go(arm)
    here = arm.grip()
    yield from go(arm, lambda: here.back(back_m), OPEN, near_m=near_m)
