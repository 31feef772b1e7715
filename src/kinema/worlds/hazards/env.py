"""The tabletop with intruders in it, that can be asked "what if".

`what_if` plays a chunk from the present state and puts everything back, so that any number of chunks can be
labelled from one state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.workspace import table_area
from kinema.schema import Observation
from kinema.worlds.cameras import Cameras
from kinema.worlds.hazards.hazards import Watch
from kinema.worlds.hazards.intruders import INTRUDER_GROUP, Intruders, Stage
from kinema.worlds.hazards.snapshot import Snapshot, restore, snapshot
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.variation import SEEN, Variation

_ROBOT_DRAWN = 1  # geom group
_ABOVE_M = np.array([0.0, 0.0, 0.08])  # where the way down to a thing begins
CELLS = 24  # of the height map, along each side
_EYE_M = 40.0  # the height from which the rays of the height map come down, nearly parallel


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a chunk led to, step by step. T steps, E severities, A arms.

    severity: float32 (T, E) as `hazards.SEVERITIES`; tool_m: (T, A, 3) after each step; thing_m: (T, 3)
    progress: how much nearer the goal came [m], by the task's own measure
    """

    severity: np.ndarray
    tool_m: np.ndarray
    thing_m: np.ndarray
    progress: float


class HazardEnv:
    """A TabletopEnv with intruders. `env` is the environment itself: observe, task, scene."""

    def __init__(
        self, *, card: EmbodimentCard, family: str, variation: Variation = SEEN, image_size: int = 96
    ) -> None:
        self.intruders = Intruders()
        self.env = TabletopEnv(
            card=card, family=family, variation=variation, image_size=image_size, furnish=self.intruders.add
        )
        self.card, self.family = card, family
        model = self.env.scene.model
        self.intruders.bind(model)
        _draw_robot_apart(model, card)
        self.watch = Watch(self.env, self.intruders.bodies)
        self.env.scene.controller.between.append(self._between)
        self._cameras = Cameras(model, card.camera_names, image_size)
        self._rays = _ray_grid(*table_area(card))

    def reset(self, seed: int, intruder: str = "") -> None:
        """A new episode. intruder: a kind, or "" to draw it from the seed too."""
        env = self.env
        env.reset(seed)
        rng = np.random.default_rng([seed, 0x68617A])
        self.intruders.reset(env.scene.model, env.scene.data, rng, self._stage(), intruder)
        mujoco.mj_forward(env.scene.model, env.scene.data)
        self.watch.begin()

    def step(self, action: np.ndarray) -> np.ndarray:
        """One control step; returns its severities (E,)."""
        self.env.step(action)
        return self.watch.next_step()

    def observe(self, render: bool = True) -> Observation:
        return self.env.observe(render=render)

    def snapshot(self) -> Snapshot:
        return snapshot(self.env)

    def restore(self, taken: Snapshot) -> None:
        """Go back to where a snapshot was taken, in the same episode."""
        restore(self.env, taken)

    def what_if(self, actions: np.ndarray) -> Course:
        """What these native actions (T, D) would lead to from here; the present is left as it was."""
        return self._play(len(actions), lambda step: actions[step])[1]

    def what_would(self, act: Callable[[], np.ndarray], steps: int) -> tuple[np.ndarray, Course]:
        """The actions (steps, D) of a feedback policy from here, and what they lead to."""
        return self._play(steps, lambda step: act())

    def _play(self, steps: int, act: Callable[[int], np.ndarray]) -> tuple[np.ndarray, Course]:
        taken, before = self.snapshot(), potential_m(self.env)
        self.watch.begin()
        actions, severity, tools, things = [], [], [], []
        scene = self.env.scene
        for step in range(steps):
            actions.append(act(step))
            severity.append(self.step(actions[-1]))
            tools.append([scene.tool(handle.side) for handle in scene.robot.arms])
            things.append(self.env.task.focus(scene)[0])
        progress = before - potential_m(self.env)
        self.restore(taken)
        self.watch.begin()
        course = Course(
            severity=np.maximum.accumulate(np.array(severity, np.float32), axis=0),
            tool_m=np.array(tools, np.float32),
            thing_m=np.array(things, np.float32),
            progress=float(progress),
        )
        return np.array(actions), course

    def heights(self) -> np.ndarray:
        """float32 (2, CELLS, CELLS): how high things, and intruders, reach over each cell of the area [m]."""
        model, data = self.env.scene.model, self.env.scene.data
        eye, ways = self._rays
        found = np.zeros((2, len(ways)))
        geoms, distance = np.zeros(len(ways), np.int32), np.zeros(len(ways))
        for i, group in enumerate((0, INTRUDER_GROUP)):
            groups = np.zeros(6, np.uint8)
            groups[group] = 1
            mujoco.mj_multiRay(
                model, data, eye, ways.ravel(), groups, 1, -1, geoms, distance, len(ways), 2 * _EYE_M
            )
            found[i] = np.where(distance < 0, 0.0, eye[2] + distance * ways[:, 2])
        return np.clip(found, 0.0, 0.6).astype(np.float32).reshape(2, CELLS, CELLS)

    def visible_px(self) -> int:
        """How many pixels the intruder takes in all the pictures of the present observation."""
        if self.intruders.kind == "none":
            return 0
        found = 0
        for outlines in self._cameras.outlines(self.env.scene.data):
            number, kind = np.moveaxis(outlines, -1, 0)
            geoms = number[kind == mujoco.mjtObj.mjOBJ_GEOM]
            bodies = self.env.scene.model.geom_bodyid[geoms]
            found += int(np.isin(bodies, list(self.intruders.bodies)).sum())
        return found

    def close(self) -> None:
        self._cameras.close()
        self.env.close()

    def _between(self) -> None:
        self.watch.look()
        scene = self.env.scene
        self.intruders.move(scene.model, scene.data)

    def _stage(self) -> Stage:
        env = self.env
        thing, place = env.task.focus(env.scene)
        tool = env.scene.tool("right")
        (x0, x1), (y0, y1), _ = self.card.workspace_m
        keep_off = [body for body in _standing(env.scene.model, env.scene.data) if body[2] > -1.0]
        late = np.random.default_rng(int(abs(tool[0]) * 1e9)).random() < 0.4
        return Stage(
            way_m=np.stack([thing, place]) if late and np.linalg.norm(thing - place) > 0.05
            else np.stack([tool, thing + _ABOVE_M]),
            keep_off=np.array([*[body[:2] for body in keep_off], tool[:2]]),
            low=np.array([x0, y0]),
            high=np.array([x1, y1]),
        )  # fmt: skip


def potential_m(env: TabletopEnv) -> float:
    """How far the goal is: the thing's way to its place and half the tool's way to the thing [m]."""
    scene, task = env.scene, env.task
    if env.holds():
        return 0.0
    thing, place = task.focus(scene)
    if env.family == "lift_two_arms":
        reach = float(
            np.linalg.norm(scene.tool("right") - thing) + np.linalg.norm(scene.tool("left") - place)
        )
        return float(0.5 * reach + max(0.0, 0.08 - scene.data.xpos[_tray(task)][2]) + 0.02)
    reach = float(np.linalg.norm(scene.tool("right") - thing))
    left = float(np.linalg.norm(thing - place))
    more = 0.0
    if env.family == "tidy":
        measures = task.measures(scene)
        more = 0.3 * (measures["blocks"] - measures["inside"])
    return left + 0.5 * reach + more + 0.02


def _tray(task: Any) -> int:
    return int(task.tray.body)


def _standing(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Positions (N, 3) of everything that stands on the table and is neither robot nor intruder."""
    names = [model.body(i).name for i in range(model.nbody)]
    mine = [
        i for i, name in enumerate(names)
        if i and name.split("/")[0] not in ("left", "right", "obstacle", "human_hand")
    ]  # fmt: skip
    return data.xpos[mine]


def _draw_robot_apart(model: mujoco.MjModel, card: EmbodimentCard) -> None:
    """Put the robot's geoms into a group of their own: drawn, but not met by the rays of the height map."""
    for arm in card.arms:
        for link in arm.links:
            first = model.body_geomadr[model.body(f"{arm.side}/{link.name}").id]
            model.geom_group[first : first + len(link.geoms)] = _ROBOT_DRAWN


def _ray_grid(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An eye far above and unit directions (CELLS², 3) to the middle of each cell on the table."""
    x, y = (low[i] + (np.arange(CELLS) + 0.5) / CELLS * (high[i] - low[i]) for i in range(2))
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    eye = np.array([*(low + high) / 2, _EYE_M])
    ways = np.concatenate([grid - eye[:2], np.full((len(grid), 1), -_EYE_M)], axis=1)
    return eye, ways / np.linalg.norm(ways, axis=1, keepdims=True)
