"""Native actions to servo targets: clamping to the card's limits, inverse kinematics, interpolation.

Rotation vectors of `ee_pose` bodies are relative to the card's straight-down home orientation, in the
robot's axes: R_robot_tool = Exp(r) R_home. A joint target moves at most the joint's velocity limit
within a control step and is followed by linear interpolation.
"""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import home_rotation
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix
from kinema.worlds.body.robots import BANDWIDTH_RAD_S, ArmHandle, Robot, add_robot, finger_targets, new_spec

SEGMENTS = 5  # pieces of the straight line between two joint targets within one control step, at most


class Kinematics:
    """Forward and inverse kinematics of a card's arms on a model without objects; a torso stands at home."""

    def __init__(self, card: EmbodimentCard) -> None:
        spec = new_spec()
        add_robot(spec, card)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.robot = Robot(card, self.model)
        self.robot.set_torso_home(self.data)
        self._jacobian = np.zeros((6, self.model.nv))

    def tool_pose(self, side: str, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) [m] and rotation (3, 3) of the tool in the robot's frame."""
        handle = self.robot.arm(side)
        self._forward(handle, joints)
        return self._pose(handle)

    def solve(
        self,
        side: str,
        position_m: np.ndarray,
        rotation: np.ndarray,
        start: np.ndarray,
        iterations: int = 12,
        tolerance: float = 2e-4,
    ) -> np.ndarray:
        """Joints (N,) that bring the tool near the pose, by damped least squares from `start` (N,).

        The nearest reachable pose is returned when the pose is out of reach. A seventh joint is
        drawn towards home through the null space.
        """
        handle = self.robot.arm(side)
        joints = np.clip(start, handle.lower, handle.upper)
        redundant = len(joints) > 6
        # An arm of five joints cannot hold every orientation: it reaches the place and tilts as it must.
        weight = 0.03 if len(joints) < 6 else 1.0
        for _ in range(iterations):
            self._forward(handle, joints)
            position, current = self._pose(handle)
            error = np.concatenate([position_m - position, weight * _rotation_error(current, rotation)])
            if not redundant and np.abs(error).max() < tolerance:
                break
            length = np.linalg.norm(error[:3])
            if length > 0.1:
                error[:3] *= 0.1 / length
            mujoco.mj_jacSite(self.model, self.data, self._jacobian[:3], self._jacobian[3:], handle.tool_site)
            jacobian = self._jacobian[:, handle.dof]
            jacobian[3:] *= weight
            damping = (1e-4 + 0.02 * min(1.0, error @ error)) * weight**2
            pseudo = _damped_inverse(jacobian, damping)
            blocked = _pushed_beyond(joints + pseudo @ error, joints, handle)
            if blocked.any():  # the other joints do what a joint at its stop cannot
                jacobian = np.where(blocked, 0.0, jacobian)
                pseudo = _damped_inverse(jacobian, damping)
            step = pseudo @ error
            if redundant:
                posture = 0.1 * (handle.home - joints)
                step += posture - pseudo @ (jacobian @ posture)
                if np.abs(error).max() < tolerance and np.abs(step).max() < 5e-3:
                    break
            joints = np.clip(joints + np.clip(step, -0.3, 0.3), handle.lower, handle.upper)
        return joints

    def _forward(self, handle: ArmHandle, joints: np.ndarray) -> None:
        self.data.qpos[handle.qpos] = joints
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)

    def _pose(self, handle: ArmHandle) -> tuple[np.ndarray, np.ndarray]:
        site = handle.tool_site
        return self.data.site_xpos[site].copy(), self.data.site_xmat[site].reshape(3, 3).copy()


def _damped_inverse(jacobian: np.ndarray, damping: float) -> np.ndarray:
    """(N, 6) from (6, N)."""
    return jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + damping * np.eye(6))


def _pushed_beyond(wanted: np.ndarray, joints: np.ndarray, handle: ArmHandle) -> np.ndarray:
    """Which joints (N,) stand at a limit and would be driven through it."""
    low = (joints <= handle.lower + 1e-6) & (wanted < joints)
    high = (joints >= handle.upper - 1e-6) & (wanted > joints)
    return low | high


def _rotation_error(current: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Small-angle error vector (3,) in the robot's axes; exact in direction for one-axis errors."""
    delta = wanted @ current.T
    vector = 0.5 * np.array([delta[2, 1] - delta[1, 2], delta[0, 2] - delta[2, 0], delta[1, 0] - delta[0, 1]])
    if np.trace(delta) < 1.0:  # beyond a quarter turn the sine shrinks again
        return rotvec_from_matrix(delta)
    return vector


class Controller:
    """Drives one simulated robot by native actions of its card and reads its native state."""

    def __init__(self, robot: Robot, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        card = robot.card
        if card.control in ("metaworld", "ee_delta"):
            raise KinemaError(
                f"card {card.name!r} acts in others' worlds; the tabletop takes ee_pose, joint_position"
            )
        if any(arm.gripper is None for arm in card.arms):
            raise KinemaError(f"card {card.name!r} has hands; the tabletop takes bodies with grippers")
        if card.torso is not None:
            raise KinemaError(f"card {card.name!r} has a torso; the tabletop takes bodies that stand still")
        self.card, self.robot, self.model, self.data = card, robot, model, data
        self.kinematics = Kinematics(card)
        self.home_rotation: dict[str, np.ndarray] = {arm.side: home_rotation(arm) for arm in card.arms}
        self.origin_m = np.zeros(3)  # of the robot's frame, in the world
        self._low = np.array([channel.range[0] for channel in card.actions])
        self._high = np.array([channel.range[1] for channel in card.actions])
        substeps = round(1.0 / (card.control_hz * model.opt.timestep))
        if abs(substeps * model.opt.timestep * card.control_hz - 1.0) > 1e-9:
            raise KinemaError(
                f"a control period of {card.name} is no whole number of {model.opt.timestep:g} s of physics"
            )
        pieces = min(SEGMENTS, substeps)
        self._pieces = [len(piece) for piece in np.array_split(np.arange(substeps), pieces)]
        self.piece_s = 1.0 / (card.control_hz * pieces)
        self.last_targets: dict[str, np.ndarray] = {}
        # Called several times within a control step, after pieces of physics: to watch, or to move things.
        self.between: list[Callable[[], None]] = []

    def reset(self) -> None:
        """Take the servo targets as they stand in the data for the last commanded ones."""
        self.last_targets = {h.side: self.data.ctrl[h.actuator].copy() for h in self.robot.arms}

    def clamp(self, action: np.ndarray) -> np.ndarray:
        """A checked copy (D,) within the card's ranges. Raises KinemaError when wrong or non-finite."""
        action = np.asarray(action, np.float64)
        names = [channel.name for channel in self.card.actions]
        if action.shape != (len(names),):
            raise KinemaError(
                f"{self.card.name}: an action has shape ({len(names)},) for {names}; got {action.shape}"
            )
        if not np.isfinite(action).all():
            bad = [f"{n}={v}" for n, v in zip(names, action) if not np.isfinite(v)]
            raise KinemaError(f"{self.card.name}: non-finite action values: {', '.join(bad)}")
        return np.clip(action, self._low, self._high)

    def step(self, action: np.ndarray) -> None:
        """Follow one native action (D,) for one control period of physics."""
        targets = self._targets(self.clamp(action))
        period_s = 1.0 / self.card.control_hz
        starts, speeds = {}, {}
        for handle in self.robot.arms:
            joints, _ = targets[handle.side]
            # Anti-windup: a blocked arm's target never runs far ahead of the measured joints.
            measured = self.data.qpos[handle.qpos]
            start = np.clip(self.last_targets[handle.side], measured - 0.2, measured + 0.2)
            reach = handle.velocity * period_s
            goal = np.clip(
                joints, np.maximum(start - reach, handle.lower), np.minimum(start + reach, handle.upper)
            )
            starts[handle.side], speeds[handle.side] = start, (goal - start) / period_s
            self.last_targets[handle.side] = goal
        done = 0
        for piece in self._pieces:
            middle = done + piece / 2
            done += piece
            for handle in self.robot.arms:
                self._drive(handle, starts[handle.side], speeds[handle.side], middle, targets[handle.side][1])
            mujoco.mj_step(self.model, self.data, nstep=piece)
            for look in self.between:
                look()

    def _drive(
        self, handle: ArmHandle, start: np.ndarray, speed: np.ndarray, done: float, fingers: np.ndarray
    ) -> None:
        # The servo damps the joint's own speed, which would trail a moving target by 2 / bandwidth:
        # leading the target by that time cancels it.
        time_s = done * self.model.opt.timestep
        self.data.ctrl[handle.actuator] = start + speed * (time_s + 2.0 / BANDWIDTH_RAD_S)
        limit = handle.finger_velocity * self.piece_s
        last = self.data.ctrl[handle.finger_actuator]
        measured = self.data.qpos[handle.finger_qpos]
        travel = handle.finger_windup
        ahead = np.clip(last + np.clip(fingers - last, -limit, limit), measured - travel, measured + travel)
        self.data.ctrl[handle.finger_actuator] = ahead

    def _targets(self, action: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Joint and finger targets by side."""
        targets, at = {}, 0
        for handle in self.robot.arms:
            if self.card.control == "ee_pose":
                pose, gripper, at = action[at : at + 6], action[at + 6], at + 7
                rotation = matrix_from_rotvec(pose[3:]) @ self.home_rotation[handle.side]
                joints = self.kinematics.solve(
                    handle.side, pose[:3], rotation, self.last_targets[handle.side]
                )
            else:
                n = len(handle.qpos)
                joints, gripper, at = action[at : at + n], action[at + n], at + n + 1
            targets[handle.side] = joints, finger_targets(handle.arm, gripper)
        return targets

    def state(self) -> np.ndarray:
        """The measured native state (S,) float32, in the order of the card's `states`."""
        parts: list[np.ndarray] = []
        for handle in self.robot.arms:
            if self.card.control == "ee_pose":
                rotation = self.data.site_xmat[handle.tool_site].reshape(3, 3)
                parts.append(self.data.site_xpos[handle.tool_site] - self.origin_m)
                parts.append(rotvec_from_matrix(rotation @ self.home_rotation[handle.side].T))
            else:
                parts.append(self.data.qpos[handle.qpos])
            parts.append(np.array([self.robot.gripper_fraction(self.data, handle)]))
        return np.concatenate(parts).astype(np.float32)
