"""One task four times, frame by frame the same: the hand, no hand, the robot alone, the robot in the scene.

The hand does the task in the physics. In the second stream it is left out, so things move by themselves. A
robot's joints follow the hand's grasp frame; the third stream shows them before nothing, and in the fourth
they stand in the scene, whose things are where the hand moved them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from kinema.space.clip_shape import BACKGROUND
from kinema.worlds.hand.retarget import GraspPath, JointPath, fit, pose
from kinema.worlds.hand.stage import HandWorld, StagedWorld
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.tabletop.props import HIDDEN
from kinema.worlds.words.events import Event, Watcher

_THINGS_M, _THING_DIFFERS = 0.03, 30
_NOTHING_M = 5.0  # farther than any robot is from its cameras
_PACE_M = (0.020, 0.032)  # per control step of 0.1 s: an unhurried hand, which every arm's joints can follow
LINGER_STEPS = 6
_DWELL_STEPS = 5  # the hand rests while fingers close or open

Pictures = Mapping[str, np.ndarray]  # by view: uint8 (T, S, S, 3)


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What a hand did in one episode of T steps. things: poses (T, 7) or joint values (T, 1) by joint."""

    family: str
    seed: int
    instruction: str
    path: GraspPath
    human: Pictures
    empty: Pictures
    things: Mapping[str, np.ndarray]
    events: tuple[Event, ...]  # what truly happened, by step
    success: bool


class Unhurried:
    """The expert of a hand's world at a person's pace, which rests while its fingers close or open."""

    def __init__(self, world: HandWorld, seed: int) -> None:
        """For one episode, which has begun."""
        self._world, self._expert = world, Expert(world)
        self._pace_m = np.random.default_rng([seed, 0x70616365]).uniform(*_PACE_M)
        self._dwell, self._action = 0, np.empty(0)

    def act(self) -> np.ndarray:
        """The next action (4,): where the grasp frame goes [m], and the opening."""
        action, tool = self._expert.act(), self._world.scene.tool()
        step = action[:3] - tool
        action[:3] = tool + step * min(1.0, self._pace_m / max(float(np.linalg.norm(step)), 1e-9))
        if self._dwell > 0:
            action, self._dwell = self._action, self._dwell - 1
        elif len(self._action) and round(action[3]) != round(self._action[3]):
            action, self._dwell = np.append(tool, action[3]), _DWELL_STEPS
        self._action = action
        return action


def perform(world: HandWorld, seed: int, *, render: bool = True) -> Performance:
    """Let the hand do the task of this seed; stops a while after it is done."""
    world.reset(seed)
    scene, watcher, mover = world.scene, Watcher(world), Unhurried(world, seed)
    places, gaps, human, empty = [], [], [], []
    told: list[float] = []
    things: dict[str, list[np.ndarray]] = {name: [] for name in _thing_joints(scene.model)}
    after = 0
    for _ in range(world.max_steps):
        watcher.look()
        if render:
            human.append(world.observe().images)
            empty.append(world.observe_without_hand().images)
        action = mover.act()
        places.append(scene.tool())
        told.append(float(action[3]))
        gaps.append(scene.gap_m())
        for name, rows in things.items():
            rows.append(scene.data.joint(name).qpos.copy())
        world.step(action)
        after = after + 1 if world.success() else 0
        if after > LINGER_STEPS:
            break
    watcher.look()
    return Performance(
        family=world.family,
        seed=seed,
        instruction=world.instruction,
        path=GraspPath(
            position_m=np.stack(places),
            opening=np.array(told),
            gap_m=np.array(gaps),
            hz=world.card.control_hz,
        ),
        human=_by_view(human),
        empty=_by_view(empty),
        things={name: np.stack(rows) for name, rows in things.items()},
        events=watcher.events,
        success=world.success(),
    )


def robot_alone(world: StagedWorld, path: JointPath) -> Pictures:
    """The body following the path before nothing (T frames by view)."""
    return _by_view([shown for shown, _ in _alone(world, path)])


def composite(world: StagedWorld, path: JointPath, scene: Pictures) -> Pictures:
    """The body drawn over a film of the scene (T frames by view), hidden by what is nearer.

    The scene's depth is a guess: a level table, and on it things of a few centimetres wherever the colour is
    not the table's. A thing in the fingers is taken to lie on the table behind them.
    """
    frames = []
    table, things = world.plane_depth(0.0), world.plane_depth(_THINGS_M)
    for step, (shown, depths) in enumerate(_alone(world, path)):
        frame = {}
        for view, picture in shown.items():
            behind = scene[view][step]
            plain = np.median(behind.reshape(-1, 3), axis=0)
            thing = np.abs(behind - plain).max(-1) > _THING_DIFFERS
            nearer = depths[view] < np.where(thing, things[view], table[view])
            frame[view] = np.where(nearer[..., None], picture, behind).astype(np.uint8)
        frames.append(frame)
    return _by_view(frames)


def _alone(world: StagedWorld, path: JointPath) -> Iterator[tuple[Pictures, Pictures]]:
    """Pictures and depths of the body alone, step by step."""
    groups = world.scene.model.geom_group
    kept = groups.copy()
    groups[~_of_robot(world.scene.model)] = HIDDEN
    try:
        for joints, opening in zip(path.joints, path.opening):
            shown, depths = _shown(world, joints, opening), world.depths()
            blank = np.uint8(BACKGROUND)
            yield (
                {
                    view: np.where(depths[view][..., None] > _NOTHING_M, blank, picture)
                    for view, picture in shown.items()
                },
                depths,
            )
    finally:
        groups[:] = kept


def robot_in_scene(world: StagedWorld, done: Performance, path: JointPath) -> Pictures:
    """The body following the path in the scene, with things where the hand had moved them."""
    world.reset(done.seed)
    frames = []
    for step, (joints, opening) in enumerate(zip(path.joints, path.opening)):
        _put_things(world, done.things, step)
        frames.append(_shown(world, joints, opening))
    return _by_view(frames)


def aligned(world: StagedWorld, done: Performance) -> tuple[JointPath, dict[str, Pictures]]:
    """A body's joint path for what the hand did, and the four streams by name."""
    path = fit(world, done.path)
    robot = robot_in_scene(world, done, path)
    return path, {
        "human": done.human,
        "empty": done.empty,
        "robot_alone": robot_alone(world, path),
        "robot": robot,
    }


def _shown(world: StagedWorld, joints: np.ndarray, opening: float) -> Pictures:
    pose(world, joints, float(opening))
    mujoco.mj_forward(world.scene.model, world.scene.data)
    return world.observe().images


def _put_things(world: StagedWorld, things: Mapping[str, np.ndarray], step: int) -> None:
    """Free bodies stand in the table's frame; what slides or turns has no frame."""
    T, turn = world.T_robot_table, np.zeros(4)
    mujoco.mju_mat2Quat(turn, T[:3, :3].ravel())
    for name, rows in things.items():
        qpos = rows[step]
        if len(qpos) == 7:
            quat = np.zeros(4)
            mujoco.mju_mulQuat(quat, turn, qpos[3:])
            qpos = np.concatenate([(T @ [*qpos[:3], 1.0])[:3], quat])
        world.scene.data.joint(name).qpos[:] = qpos


def _thing_joints(model: mujoco.MjModel) -> list[str]:
    names = [model.joint(i).name for i in range(model.njnt)]
    return [name for name in names if name.split("/")[0] not in ("left", "right")]


def _of_robot(model: mujoco.MjModel) -> np.ndarray:
    """Which geoms (G,) belong to a body before the table."""
    names = [model.body(int(body)).name.split("/")[0] for body in model.geom_bodyid]
    return np.isin(names, ("left", "right"))


def _by_view(frames: Sequence[Pictures]) -> dict[str, np.ndarray]:
    return {name: np.stack([frame[name] for frame in frames]) for name in frames[0]} if frames else {}
