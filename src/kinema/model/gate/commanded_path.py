"""Where a chunk would take a body, by its card alone: tool poses, limits, the gripper's corners, the cameras.

This is what is known without learning; the latent dynamics is given it and learns the rest. Numpy only.

Axes: ... leading (chunks, steps), D native action channels, A = 2 arms (right, left), F path features,
P points of a gripper, V cameras.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.card.card import Arm, Camera, EmbodimentCard, Geom, Link
from kinema.card.kinematics import home_joints, home_rotation, link_poses
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_quat, matrix_from_rotvec

SIDES = ("right", "left")
FEATURES = 12  # tool position 3, x axis 3, y axis 3, opening, beyond limits, speed as a share of the limit
POINTS = 9
_REACH_BACK_M = 0.22  # from the tool to the wrist, roughly, for bodies whose joints are not told


@dataclass(frozen=True, kw_only=True)
class Views:
    """Calibrated cameras: T_camera_robot float32 (V, 3, 4), focal length in halves of the picture (V,)."""

    pose: np.ndarray
    focal: np.ndarray


class PathReader:
    """Reads chunks and states of one card. Raises KinemaError for a card that has no tool path."""

    def __init__(self, card: EmbodimentCard) -> None:
        if card.control not in ("ee_pose", "joint_position"):
            raise KinemaError(f"the gate reads ee_pose and joint_position; {card.name!r} is {card.control!r}")
        if any(arm.gripper is None for arm in card.arms):
            raise KinemaError(f"the gate reads bodies with grippers; {card.name!r} has hands")
        if card.torso is not None:
            raise KinemaError(f"the gate reads arms on fixed bases; {card.name!r} has a torso")
        self.card = card
        self.arm_mask = np.array([any(arm.side == side for arm in card.arms) for side in SIDES])
        self._arms: dict[str, _ArmReader] = {arm.side: _ArmReader(card, arm) for arm in card.arms}
        self.points = np.zeros((len(SIDES), POINTS, 2, 3), np.float32)
        for i, side in enumerate(SIDES):
            if side in self._arms:
                self.points[i] = self._arms[side].points

    def path(self, actions: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Native actions (..., T, D) and the state (..., S) before them to float32 (..., T, A, F)."""
        out = np.zeros((*actions.shape[:-1], len(SIDES), FEATURES), np.float32)
        for i, side in enumerate(SIDES):
            if side in self._arms:
                out[..., i, :] = self._arms[side].path(actions, state)
        return out

    def start(self, state: np.ndarray) -> np.ndarray:
        """The state (..., S) as path features (..., A, F)."""
        out = np.zeros((*state.shape[:-1], len(SIDES), FEATURES), np.float32)
        for i, side in enumerate(SIDES):
            if side in self._arms:
                out[..., i, :] = self._arms[side].start(state)
        return out

    def views(self, state: np.ndarray) -> Views:
        """The card's cameras as they stand for a state (S,)."""
        poses = np.stack([self._camera_pose(camera, state) for camera in self.card.cameras])
        focal = 1.0 / np.tan(np.array([camera.fovy_rad for camera in self.card.cameras]) / 2)
        return Views(pose=poses.astype(np.float32), focal=focal.astype(np.float32))

    def _camera_pose(self, camera: Camera, state: np.ndarray) -> np.ndarray:
        """T_camera_robot (3, 4), looking along -z, y up."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = matrix_from_quat(np.array(camera.quat_wxyz)), camera.pos_m
        if camera.mount != "world":
            side, link = camera.mount.split(":")
            arm = self._arms[side]
            if link != arm.arm.tool.link:
                raise KinemaError(
                    f"{self.card.name}: camera {camera.name!r} is on {link!r}; the gate knows cameras "
                    f"on the world and on the tool's link {arm.arm.tool.link!r}"
                )
            pose = arm.link_pose(state) @ pose
        return np.linalg.inv(pose)[:3]


class _ArmReader:
    """One arm of a card."""

    def __init__(self, card: EmbodimentCard, arm: Arm) -> None:
        self.arm, self._card = arm, card
        slots = [channel.slot for channel in card.actions]
        state_slots = [channel.slot for channel in card.states]
        names = (
            [f"{arm.side}.ee.{axis}" for axis in "xyz"] + [f"{arm.side}.rot.{i}" for i in range(3)]
            if card.control == "ee_pose"
            else [f"{arm.side}.joint.{i}" for i in range(len(arm.joints))]
        )
        self._columns = np.array([slots.index(name) for name in names])
        self._state_columns = np.array([state_slots.index(name) for name in names])
        self._gripper, self._state_gripper = (
            slots.index(f"{arm.side}.gripper"),
            state_slots.index(f"{arm.side}.gripper"),
        )
        self._low, self._high = np.array([card.actions[i].range for i in self._columns]).T
        self._home = home_rotation(arm)
        self._T_link_tool = np.eye(4)
        self._T_link_tool[:3, :3] = matrix_from_quat(np.array(arm.tool.quat_wxyz))
        self._T_link_tool[:3, 3] = arm.tool.pos_m
        self._chain = _chain(arm)
        joints = card.control == "joint_position"
        self._step = np.array([joint.velocity for joint in arm.joints]) / card.control_hz if joints else None
        self.points = _gripper_points(arm, np.linalg.inv(self._T_link_tool))

    def path(self, actions: np.ndarray, state: np.ndarray) -> np.ndarray:
        commanded = actions[..., self._columns].astype(np.float64)
        clipped = np.clip(commanded, self._low, self._high)
        beyond = np.abs(commanded - clipped).sum(-1)
        before = np.concatenate([_spread(state, actions)[..., self._state_columns], clipped[..., :-1, :]], -2)
        opening = np.clip(actions[..., self._gripper], 0.0, 1.0)
        return self._features(clipped, opening, beyond, self._speed(clipped - before))

    def start(self, state: np.ndarray) -> np.ndarray:
        values = state[..., self._state_columns].astype(np.float64)
        zero = np.zeros(values.shape[:-1])
        return self._features(values, state[..., self._state_gripper], zero, zero)

    def link_pose(self, state: np.ndarray) -> np.ndarray:
        """T_robot_link (4, 4) of the tool's link for a state (S,)."""
        rotation, position = self._tool(state[self._state_columns].astype(np.float64))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, position
        return pose @ np.linalg.inv(self._T_link_tool)

    def _features(
        self, values: np.ndarray, opening: np.ndarray, beyond: np.ndarray, speed: np.ndarray
    ) -> np.ndarray:
        rotation, position = self._tool(values)
        scalars = np.stack([opening, np.minimum(beyond, 1.0), np.minimum(speed, 5.0)], -1)
        return np.concatenate([position, rotation[..., 0], rotation[..., 1], scalars], -1).astype(np.float32)

    def _speed(self, change: np.ndarray) -> np.ndarray:
        """The fastest joint as a share of its limit; of a tool, its way per step in 10 cm."""
        if self._step is not None:
            return np.abs(change / self._step).max(-1)
        return np.linalg.norm(change[..., :3], axis=-1) / 0.1

    def _tool(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (..., 3, 3) and positions (..., 3) of the tool in the robot's frame."""
        if self._card.control == "ee_pose":
            return matrix_from_rotvec(values[..., 3:6]) @ self._home, values[..., :3]
        pose = self._chain(values)
        return pose[..., :3, :3], pose[..., :3, 3]


def _spread(state: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """State (..., S) to (..., 1, S) with the actions' leading axes."""
    while state.ndim < actions.ndim - 1:
        state = state[..., None, :]
    return np.broadcast_to(state[..., None, :], (*actions.shape[:-2], 1, state.shape[-1]))


class _chain:  # noqa: N801  (a function with precomputed parts)
    """Forward kinematics of one arm for many joint values at once: (..., N) to T_robot_tool (..., 4, 4)."""

    def __init__(self, arm: Arm) -> None:
        by_name = {link.name: link for link in arm.links}
        names, name = [], arm.tool.link
        while name != "base":
            names.append(name)
            name = by_name[name].parent
        links = [by_name[name] for name in reversed(names)]
        order = {joint.name: i for i, joint in enumerate(arm.joints)}
        self._parts = [(_fixed(link), _joint_of(link, order)) for link in links]
        self._base = _pose(arm.base_pos_m, arm.base_quat_wxyz)
        self._tool = _pose(arm.tool.pos_m, arm.tool.quat_wxyz)

    def __call__(self, joints: np.ndarray) -> np.ndarray:
        rotation = np.broadcast_to(self._base[:3, :3], (*joints.shape[:-1], 3, 3))
        position = np.broadcast_to(self._base[:3, 3], (*joints.shape[:-1], 3))
        for fixed, joint in self._parts:
            position = position + rotation @ fixed[:3, 3]
            rotation = rotation @ fixed[:3, :3]
            if joint is not None:
                index, axis, slides = joint
                value = joints[..., index, None] * axis
                if slides:
                    position = position + (rotation @ value[..., None])[..., 0]
                else:
                    rotation = rotation @ matrix_from_rotvec(value)
        pose = np.zeros((*joints.shape[:-1], 4, 4))
        pose[..., :3, :3] = rotation @ self._tool[:3, :3]
        pose[..., :3, 3] = position + rotation @ self._tool[:3, 3]
        pose[..., 3, 3] = 1.0
        return pose


def _joint_of(link: Link, order: dict[str, int]) -> tuple[int, np.ndarray, bool] | None:
    if link.joint is None or link.joint.name not in order:
        return None
    axis = np.array(link.joint.axis, np.float64)
    return order[link.joint.name], axis / np.linalg.norm(axis), link.joint.type == "slide"


def _fixed(link: Link) -> np.ndarray:
    return _pose(link.pos_m, link.quat_wxyz)


def _pose(pos_m: tuple[float, float, float], quat_wxyz: tuple[float, float, float, float]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = matrix_from_quat(np.array(quat_wxyz)), pos_m
    return pose


def _gripper_points(arm: Arm, T_tool_link: np.ndarray) -> np.ndarray:
    """Points (P, 2, 3) in the tool's frame: where they are when shut, and how they move as the gripper opens.

    The two finger tips, the tool, the four corners and the middle of the palm's front, and the wrist.
    """
    shut, opened = (_corners(arm, T_tool_link, opening) for opening in (0.0, 1.0))
    tips = []
    for sign in (-1.0, 1.0):
        ends = []
        for fingers, _ in (shut, opened):
            mine = fingers[fingers[:, 1] * sign >= -1e-6] if len(fingers) else np.zeros((1, 3))
            mine = mine if len(mine) else np.zeros((1, 3))
            ends.append([0.0, sign * np.abs(mine[:, 1]).max(), mine[:, 2].max()])
        tips.append([ends[0], np.subtract(ends[1], ends[0])])
    palm = shut[1] if len(shut[1]) else np.zeros((1, 3))
    low, high = palm.min(0), palm.max(0)
    still = [[0.0, 0.0, 0.0]] + [[x, y, high[2]] for x in (low[0], high[0]) for y in (low[1], high[1])]
    still += [[0.0, 0.0, high[2]], [0.0, 0.0, -_REACH_BACK_M]]
    points = [*tips, *[[p, [0.0, 0.0, 0.0]] for p in still]]
    return np.array(points, np.float32)


def _corners(arm: Arm, T_tool_link: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners (N, 3) in the tool's frame of the solid geoms of the fingers, and of the rest of the hand."""
    poses = link_poses(arm, home_joints(arm), opening)
    T_tool_robot = T_tool_link @ np.linalg.inv(poses[arm.tool.link])
    fingers, palm = [np.zeros((0, 3))], [np.zeros((0, 3))]
    for link in arm.links:
        finger = link.joint is not None and link.joint.name in arm.fingers
        for geom in link.geoms if finger or link.name == arm.tool.link else ():
            if geom.collide:
                (fingers if finger else palm).append(_box_corners(T_tool_robot @ poses[link.name], geom))
    return np.concatenate(fingers), np.concatenate(palm)


def _box_corners(T_tool_link: np.ndarray, geom: Geom) -> np.ndarray:
    size = [*geom.size_m, 0.0, 0.0]
    half = {
        "box": size[:3],
        "sphere": [size[0]] * 3,
        "capsule": [size[0], size[0], size[0] + size[1]],
        "cylinder": [size[0], size[0], size[1]],
    }[geom.type]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    pose = T_tool_link @ _pose(geom.pos_m, geom.quat_wxyz)
    return (signs * half) @ pose[:3, :3].T + pose[:3, 3]
