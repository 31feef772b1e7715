"""What the wide look changes around a task: where the fixed cameras stand, how high the table is, and what
lies about out of reach."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import mujoco
import numpy as np

from kinema.worlds import wide
from kinema.worlds.tabletop.family import Thing
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.things.draw import draw_look
from kinema.worlds.tabletop.things.item import Ornament
from kinema.worlds.tabletop.things.metaworld import add_drawings
from kinema.worlds.tabletop.things.textures import add_textures
from kinema.worlds.variation import Variation
from kinema.worlds.words.reference import Sight

_ORNAMENTS = int(wide.CLUTTER.held_out[0][1])
_BEYOND_M = (0.09, 0.24)  # of the work area: further than the held-out positions and what lies there
_APART_M = 0.10


class Surroundings:
    """Built once per model; `reset` draws an episode's."""

    def __init__(self) -> None:
        self._ornaments = [Ornament(f"ornament{i}") for i in range(_ORNAMENTS)]
        self._names: list[str] = []  # of those that lie about in this episode, in their order
        self._sizes_m: list[float] = []

    def add(self, spec: mujoco.MjSpec) -> None:
        add_textures(spec)
        add_drawings(spec)
        for ornament in self._ornaments:
            ornament.add(spec)

    def bind(self, scene: Scene) -> None:
        model = scene.model
        for ornament in self._ornaments:
            ornament.bind(model)
        fixed = [camera.name for camera in scene.card.cameras if camera.mount == "world"]
        self._cameras = [model.camera(name).id for name in fixed]
        self._bases = [model.body(f"{arm.side}/base").id for arm in scene.card.arms]
        self._camera_pos, self._camera_quat = model.cam_pos.copy(), model.cam_quat.copy()
        self._body_pos = model.body_pos.copy()

    def reset(
        self, scene: Scene, rng: np.random.Generator, variation: Variation, without: Collection[str] = ()
    ) -> list[Sight]:
        """Returns what lies about, as words can tell it: nothing of the kinds `without`."""
        height = wide.TABLE_HEIGHT_M.draw(rng, variation.height)
        self._lower_robot(scene, height)
        self._turn_cameras(scene, rng, variation.camera, height)
        return self._lay_about(scene, rng, variation, {"block", *without})

    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        """What lies about, by colour and kind."""
        for ornament, name, size_m in zip(self._ornaments, self._names, self._sizes_m):
            yield Thing(name=name, point_m=ornament.position(data), geoms=ornament.shown, size_m=size_m)

    def _lower_robot(self, scene: Scene, height_m: float) -> None:
        """The table stays where it is: the robot goes down, and the frame of its card with it."""
        for base in self._bases:
            scene.model.body_pos[base] = self._body_pos[base] - [0.0, 0.0, height_m]
        scene.controller.origin_m = np.array([0.0, 0.0, -height_m])

    def _turn_cameras(self, scene: Scene, rng: np.random.Generator, held_out: bool, height_m: float) -> None:
        for camera in self._cameras:
            shift = wide.draw_offset(rng, wide.CAMERA_SHIFT_M.draw(rng, held_out))
            scene.model.cam_pos[camera] = self._camera_pos[camera] + shift - [0.0, 0.0, height_m]
            turn = wide.draw_offset(rng, wide.CAMERA_TURN_RAD.draw(rng, held_out))
            quat = self._camera_quat[camera].copy()
            mujoco.mju_quatIntegrate(quat, turn, 1.0)
            scene.model.cam_quat[camera] = quat

    def _lay_about(
        self, scene: Scene, rng: np.random.Generator, variation: Variation, without: Collection[str]
    ) -> list[Sight]:
        for ornament in self._ornaments:
            ornament.park(scene.model)
        sights: list[Sight] = []
        taken: list[np.ndarray] = []
        names, sizes_m = list[str](), list[float]()
        for ornament in self._ornaments[: int(wide.CLUTTER.draw(rng, variation.clutter))]:
            place, look = _beside(scene, rng, taken), draw_look(rng, variation)
            while look.kind.name in without:
                look = draw_look(rng, variation)
            ornament.put(scene.model, look, place, float(rng.uniform(-np.pi, np.pi)))
            taken.append(place)
            names.append(f"{look.color} {look.kind.name}".strip())
            sizes_m.append(2 * max(look.half_m))
            sights.append(scene.sight(names[-1], place, sizes_m[-1]))
        self._names, self._sizes_m = names, sizes_m
        return sights


def _beside(scene: Scene, rng: np.random.Generator, taken: list[np.ndarray]) -> np.ndarray:
    """A free place (2,) behind the work area or at its sides, as the robot sees it."""
    while True:
        place = _anywhere(scene, rng)
        if all(np.hypot(*(place - other)) > _APART_M for other in taken):
            return place


def _anywhere(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    area, beyond = scene.area, rng.uniform(*_BEYOND_M)
    side = rng.integers(3)
    u, v = rng.uniform(-1.0, 1.0, 2) * area.half
    if side == 0:
        u = area.half[0] + beyond
    else:
        v = (1.0 if side == 1 else -1.0) * (area.half[1] + beyond)
    return np.array(area.center) + area.turn(u, v)
