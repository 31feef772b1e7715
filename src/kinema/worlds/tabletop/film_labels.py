"""What is where in a picture: every nameable thing of a tabletop scene, projected into every camera.

A detector is trained on these labels, so that films can be judged from their frames alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kinema.worlds.cameras import Cameras
from kinema.worlds.tabletop.demonstrate import Disturbance, Noise
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.tabletop.families import FAMILIES
from kinema.worlds.tabletop.family import Thing
from kinema.worlds.variation import COLORS

_BY_COLOR = dict.fromkeys(kind for family in FAMILIES for kind in family.seen_by_color)
_OTHERS = dict.fromkeys(name for family in FAMILIES for name in family.seen)
GRIPPERS = {"right": "gripper", "left": "left gripper"}
THINGS: tuple[str, ...] = (
    *(f"{color} {kind}" for kind in _BY_COLOR for color in COLORS),
    *_OTHERS,
    *GRIPPERS.values(),
)

_CLEARLY_PX, _HARDLY_PX = 4, 1  # of a thing's own pixels; what lies between is left unlabelled
UNSURE = 0.5


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
    scene, model, data = env.scene, env.scene.model, env.scene.data
    yield from env.task.things(data)
    for handle in scene.robot.arms:
        geoms = np.flatnonzero(np.isin(model.geom_bodyid, list(handle.gripper_bodies)))
        name = GRIPPERS[handle.side]
        yield Thing(name=name, point_m=data.site_xpos[handle.tool_site].copy(), geoms=geoms)


class Looker:
    """Takes labelled pictures of one environment; sees by segmentation what hides what. Close it."""

    def __init__(self, env: TabletopEnv) -> None:
        self._env = env
        self._cameras = Cameras(env.scene.model, env.card.camera_names, env.image_size)

    def look(self, seed: int, step: int) -> Look:
        scene = self._env.scene
        found = list(things(self._env))
        points = np.zeros((len(self._env.card.cameras), len(THINGS), 3), np.float32)
        world = np.full((len(THINGS), 3), np.nan, np.float32)
        rows = [THINGS.index(thing.name) for thing in found]
        world[rows] = [thing.point_m for thing in found]
        projected = self._cameras.project(scene.data, np.stack([thing.point_m for thing in found]))
        for view, shown in enumerate(self._cameras.outlines(scene.data)):
            for row, thing, uv in zip(rows, found, projected[view]):
                pixels = int(np.isin(shown[..., 0], thing.geoms).sum())
                seen = 1.0 if pixels >= _CLEARLY_PX else UNSURE if pixels >= _HARDLY_PX else 0.0
                points[view, row] = [*uv[:2], seen if uv[2] else min(seen, UNSURE)]
        images = np.stack(list(self._env.observe().images.values()))
        return Look(images=images, points=points, world_m=world, seed=seed, step=step)

    def close(self) -> None:
        self._cameras.close()


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
