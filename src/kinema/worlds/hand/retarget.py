"""From the path of a grasp to the joints of any arm: inverse kinematics, within the card's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import gripper_of
from kinema.schema import KinemaError
from kinema.worlds.hand.hand import OPEN_M, TIP_BELOW_TOOL_M
from kinema.worlds.hand.stage import StagedWorld

_CLEARANCE_M = 0.003  # of finger tips above the table
_FIRST_ITERATIONS, _ITERATIONS = 300, 30
_LINGER_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class GraspPath:
    """The way of a grasp frame, one row per control step, in the table's frame. T rows.

    position_m: float64 (T, 3)
    opening:    float64 (T,), what the fingers are told: 0 close, 1 open
    gap_m:      float64 (T,) between the finger pads as measured
    """

    position_m: np.ndarray
    opening: np.ndarray
    gap_m: np.ndarray
    hz: float = 10.0

    def __post_init__(self) -> None:
        steps = len(self.position_m)
        if not steps or self.position_m.shape != (steps, 3):
            raise KinemaError(f"a grasp path needs positions (T > 0, 3); got {self.position_m.shape}")
        for name, values in (("opening", self.opening), ("gap_m", self.gap_m)):
            if values.shape != (steps,):
                raise KinemaError(
                    f"a grasp path of {steps} steps needs {name} ({steps},); got {values.shape}"
                )
        if not all(np.isfinite(v).all() for v in (self.position_m, self.opening, self.gap_m)):
            raise KinemaError("a grasp path holds non-finite values")


@dataclass(frozen=True, kw_only=True)
class JointPath:
    """The same way for one body's right arm. T rows, N joints, S and D native channels of the card.

    wanted_m, tool_m: float64 (T, 3) in the robot's frame: where the tool should be, where the joints bring it
    """

    joints: np.ndarray  # float64 (T, N)
    opening: np.ndarray  # float64 (T,), measured fraction
    state: np.ndarray  # float32 (T, S)
    action: np.ndarray  # float32 (T, D)
    wanted_m: np.ndarray
    tool_m: np.ndarray

    @property
    def error_m(self) -> np.ndarray:
        """Distance (T,) of the tool from where it should be."""
        return np.linalg.norm(self.tool_m - self.wanted_m, axis=1)


def fit(world: StagedWorld, path: GraspPath) -> JointPath:
    """Follow a grasp path with the world's body: tool straight down, finger tips where the hand's were."""
    card, handle = world.card, world.scene.robot.arm("right")
    kinematics, rotation = world.scene.controller.kinematics, world.scene.controller.home_rotation["right"]
    wanted = tool_places(world, path)
    reach = handle.velocity / path.hz
    joints = kinematics.solve("right", wanted[0], rotation, handle.home, iterations=_FIRST_ITERATIONS)
    rows: list[np.ndarray] = []
    tools: list[np.ndarray] = []
    for place in wanted:
        solved = kinematics.solve("right", place, rotation, joints, iterations=_ITERATIONS)
        joints = np.clip(solved, joints - reach, joints + reach) if rows else solved
        rows.append(joints)
        tools.append(kinematics.tool_pose("right", joints)[0])
    opening = np.clip(path.gap_m / gripper_of(handle.arm).max_width_m, 0.0, 1.0)
    told = np.minimum(
        path.opening, np.clip(OPEN_M * path.opening / gripper_of(handle.arm).max_width_m, 0.0, 1.0)
    )
    following = np.minimum(np.arange(len(rows)) + 1, len(rows) - 1)
    solved_rows, tool_m = np.stack(rows), np.stack(tools)
    return JointPath(
        joints=solved_rows,
        opening=opening,
        state=_native(card, solved_rows, tool_m, opening),
        action=_native(card, solved_rows[following], wanted[following], told),
        wanted_m=wanted,
        tool_m=tool_m,
    )


def tool_places(world: StagedWorld, path: GraspPath) -> np.ndarray:
    """Where the body's tool belongs (T, 3) [m] in its frame, so that its tips are where the hand's were."""
    tip_m = world.scene.tip_below_tool_m()
    T = world.T_robot_table
    places = path.position_m @ T[:3, :3].T + T[:3, 3]
    places[:, 2] = np.maximum(places[:, 2] + tip_m - TIP_BELOW_TOOL_M, tip_m + _CLEARANCE_M)
    return places


def grasp_path(world: StagedWorld, tool_m: np.ndarray, opening: np.ndarray, gap_m: np.ndarray) -> GraspPath:
    """The inverse of `tool_places`: the grasp path that a body's tool (T, 3) in its frame has followed."""
    T = np.linalg.inv(world.T_robot_table)
    position = tool_m @ T[:3, :3].T + T[:3, 3]
    position[:, 2] -= world.scene.tip_below_tool_m() - TIP_BELOW_TOOL_M
    return GraspPath(position_m=position, opening=opening, gap_m=gap_m, hz=world.card.control_hz)


def pose(world: StagedWorld, joints: np.ndarray, opening: float) -> None:
    """Put the body's right arm there (N,), at rest; other arms keep their home."""
    scene = world.scene
    for handle in scene.robot.arms:
        at, fraction = (joints, opening) if handle.side == "right" else (handle.home, 1.0)
        scene.robot.set_joints(scene.data, handle, at, gripper=fraction)


def replay(world: StagedWorld, seed: int, path: JointPath) -> bool:
    """Whether the path solves the scene of this seed when its actions are played in the true world."""
    return bool(play(world, seed, path, render=False)["success"])


def play(world: StagedWorld, seed: int, path: JointPath, *, render: bool = True) -> dict[str, Any]:
    """Play a path's actions in the scene of this seed, as an episode to record: what was sensed and sent."""
    world.reset(seed)
    pose(world, path.joints[0], float(path.opening[0]))
    world.scene.controller.reset()
    mujoco.mj_forward(world.scene.model, world.scene.data)
    images: dict[str, list[np.ndarray]] = {name: [] for name in world.card.camera_names} if render else {}
    states, points = [], []
    actions = [*path.action, *[path.action[-1]] * _LINGER_STEPS]
    for action in actions:
        seen = world.observe(render=render)
        for name, picture in seen.images.items():
            images[name].append(picture)
        states.append(seen.state)
        points.append(world.points())
        world.step(action)
    return {
        "images": {name: np.stack(frames) for name, frames in images.items()},
        "state": np.stack(states),
        "action": np.stack(actions).astype(np.float32),
        "points": np.stack(points),
        "success": world.success(),
    }


def _native(card: EmbodimentCard, joints: np.ndarray, tool_m: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Rows (T, D) float32 in the order of the card's channels; arms other than the right one stay at home."""
    rows = []
    for arm in card.arms:
        if arm.side != "right":
            rows.append(np.tile([joint.home for joint in arm.joints] + [1.0], (len(joints), 1)))
        elif card.control == "ee_pose":
            rows.append(np.column_stack([tool_m, np.zeros((len(joints), 3)), opening]))
        else:
            rows.append(np.column_stack([joints, opening]))
    return np.concatenate(rows, 1).astype(np.float32)
