"""What is where in a picture: every nameable thing of a tabletop scene, projected into every camera.

A detector is trained on these labels, so that films can be judged from their frames alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from kinema.worlds.tabletop.demonstrate import Disturbance, Noise
from kinema.worlds.tabletop.env import TabletopEnv, project
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.tabletop.families.button import PressButton
from kinema.worlds.tabletop.families.drawer import Drawer
from kinema.worlds.tabletop.families.lift import LiftTwoArms
from kinema.worlds.tabletop.families.pick_place import PickPlace
from kinema.worlds.tabletop.families.push import Push
from kinema.worlds.tabletop.families.stack import Stack
from kinema.worlds.tabletop.families.tidy import Tidy
from kinema.worlds.tabletop.props import PARKED_Z_M, Block, Fixture
from kinema.worlds.variation import COLORS

_KINDS = ("block", "bowl", "plate", "area", "button", "pressed button")
GRIPPERS = {"right": "gripper", "left": "left gripper"}
THINGS: tuple[str, ...] = (
    *(f"{color} {kind}" for kind in _KINDS for color in COLORS),
    "drawer handle", "right tray handle", "left tray handle", "box", *GRIPPERS.values(),
)  # fmt: skip

_PRESSED_M = 0.006  # from where on a button counts as another thing to the eye
_CLEARLY_PX, _HARDLY_PX = 4, 1  # of a thing's own pixels; what lies between is left unlabelled
UNSURE = 0.5


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A nameable thing of the scene: the point that stands for it [m], and the geoms that show it."""

    name: str
    point_m: np.ndarray
    geoms: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Look:
    """Every camera's picture at one instant with its labels. V views, K = len(THINGS).

    images: uint8 (V, S, S, 3)
    points: float32 (V, K, 3): u, v in [0, 1] and 1 where it is seen, 0 where not, UNSURE for a pixel or two
    world_m: float32 (K, 3), NaN for what is not in the scene
    """

    images: np.ndarray
    points: np.ndarray
    world_m: np.ndarray
    seed: int
    step: int


def things(env: TabletopEnv) -> Iterator[Thing]:
    """Everything in the scene that a sentence can name, and the grippers."""
    scene, task, data = env.scene, env.task, env.scene.data
    model = scene.model
    if isinstance(task, PickPlace | Stack | Push | Tidy):
        for block in task.blocks:
            if not block.parked:
                yield Thing(name=f"{block.color} block", point_m=block.position(data), geoms=_geoms(block))
    if isinstance(task, PickPlace):
        for container in (c for group in task.containers.values() for c in group):
            if _stands(container, data):
                name = f"{container.color} {container.kind}"
                yield Thing(name=name, point_m=container.surface(data), geoms=container.geoms)
    elif isinstance(task, Push):
        for region in task.regions:
            yield Thing(name=f"{region.color} area", point_m=region.position(data), geoms=region.geoms)
    elif isinstance(task, PressButton):
        for button in (b for b in task.buttons if _stands(b, data)):
            depth_m = button.depth_m(data)
            kind = "pressed button" if depth_m > _PRESSED_M else "button"
            top = button.top(data) - np.array([0.0, 0.0, depth_m])
            yield Thing(name=f"{button.color} {kind}", point_m=top, geoms=button.caps)
    elif isinstance(task, Drawer):
        cabinet = task.cabinet
        yield Thing(name="drawer handle", point_m=cabinet.handle(data), geoms=cabinet.handles)
    elif isinstance(task, LiftTwoArms):
        tray = task.tray
        for i, side in enumerate(("left", "right")):
            shown = np.array([tray.bars[i], tray.knobs[i]])
            yield Thing(name=f"{side} tray handle", point_m=tray.handle(data, side), geoms=shown)
    elif isinstance(task, Tidy):
        yield Thing(name="box", point_m=task.box.surface(data), geoms=task.box.geoms)
    for handle in scene.robot.arms:
        geoms = np.flatnonzero(np.isin(model.geom_bodyid, list(handle.gripper_bodies)))
        name = GRIPPERS[handle.side]
        yield Thing(name=name, point_m=data.site_xpos[handle.tool_site].copy(), geoms=geoms)


def _geoms(block: Block) -> np.ndarray:
    return np.array([*block.geoms, block.skin])


def _stands(fixture: Fixture, data: mujoco.MjData) -> bool:
    return bool(fixture.position(data)[2] > PARKED_Z_M / 2)


class Looker:
    """Takes labelled pictures of one environment; sees by segmentation what hides what. Close it."""

    def __init__(self, env: TabletopEnv) -> None:
        self._env = env
        self._cameras = [env.scene.model.camera(name).id for name in env.card.camera_names]
        self._renderer = mujoco.Renderer(env.scene.model, env.image_size, env.image_size)
        self._renderer.enable_segmentation_rendering()

    def look(self, seed: int, step: int) -> Look:
        scene = self._env.scene
        found = list(things(self._env))
        points = np.zeros((len(self._cameras), len(THINGS), 3), np.float32)
        world = np.full((len(THINGS), 3), np.nan, np.float32)
        rows = [THINGS.index(thing.name) for thing in found]
        world[rows] = [thing.point_m for thing in found]
        for view, camera in enumerate(self._cameras):
            self._renderer.update_scene(scene.data, camera)
            shown = self._renderer.render()[..., 0]
            projected = project(scene.model, scene.data, camera, np.stack([t.point_m for t in found]))
            for row, thing, uv in zip(rows, found, projected):
                pixels = int(np.isin(shown, thing.geoms).sum())
                seen = 1.0 if pixels >= _CLEARLY_PX else UNSURE if pixels >= _HARDLY_PX else 0.0
                points[view, row] = [*uv[:2], seen if uv[2] else min(seen, UNSURE)]
        images = np.stack(list(self._env.observe().images.values()))
        return Look(images=images, points=points, world_m=world, seed=seed, step=step)

    def close(self) -> None:
        self._renderer.close()


def looks(env: TabletopEnv, looker: Looker, seed: int, *, apart: int = 4) -> Iterator[Look]:
    """Looks along one episode, about every `apart` steps, the expert acting under a disturbance."""
    rng = np.random.default_rng([seed, 0x6C6F6F])
    env.reset(seed)
    expert = Expert(env)
    noise = Noise(scale=float(rng.choice([0.0, 0.5, 1.0])), share=0.4)
    disturbance = Disturbance(env.card, noise, rng)
    due, over = 0, 0
    for step in range(env.max_steps):
        if step == due or over == 1:
            yield looker.look(seed, step)
            due = step + int(rng.integers(max(1, apart - 2), apart + 3))
        if over > 1:
            return
        env.step(env.scene.controller.clamp(disturbance.apply(expert.act())))
        over = over + 1 if env.success() else 0
