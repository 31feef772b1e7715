"""What a house looks like: floors, walls, lintels and furniture of primitives, drawn without shadows.

The base is only moved and drawn; nothing here is simulated. Axes: V cameras, N points.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import mujoco
import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.worlds.cameras import Cameras
from kinema.worlds.house.furniture import CATALOGUE, Part
from kinema.worlds.house.house import DOOR_HEIGHT_M, WALL_HEIGHT_M, WALL_M, House, Rectangle, Room, Thing

TOP = "top"  # a camera above the house, for people
_BOX, _CYLINDER = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
_TOP_FOVY_RAD = 0.8
_PERSON_M = (0.22, 1.7)  # radius, height
_HIDDEN_Z_M = -20.0
_FLOORS = {"Kitchen": 0.12, "LivingRoom": 0.08, "Bedroom": 0.05, "Bathroom": 0.52}  # hues


class HouseScene:
    """The drawn world of one house and one base; close it to free the graphics context."""

    def __init__(
        self, house: House, card: EmbodimentCard, image_size: int, rng: np.random.Generator,
        *, held_out: bool = False,
    ) -> None:  # fmt: skip
        """rng: draws the colours of floors and walls, outside the training bands where held out"""
        self.model = _specification(house, card, rng, held_out).compile()
        self.data = mujoco.MjData(self.model)
        self._base, self._person = (int(self.model.body(name).mocapid[0]) for name in ("base", "person"))
        self._cameras = Cameras(self.model, [camera.name for camera in card.present], image_size)
        self._above = Cameras(self.model, [TOP], 2 * max(image_size, 192))

    def show(self, base: np.ndarray, person: np.ndarray | None = None) -> None:
        """Put the base (x, y, heading) and the person, where there is one, where they are."""
        self._put(self._base, base, 0.0)
        self._put(self._person, np.zeros(3) if person is None else person, _HIDDEN_Z_M * (person is None))
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _put(self, mocap: int, pose: np.ndarray, z_m: float) -> None:
        self.data.mocap_pos[mocap] = [pose[0], pose[1], z_m]
        self.data.mocap_quat[mocap] = [np.cos(pose[2] / 2), 0, 0, np.sin(pose[2] / 2)]

    def pictures(self) -> list[np.ndarray]:
        """uint8 (S, S, 3) of the cameras that show the present, in the card's order."""
        return self._cameras.pictures(self.data)

    def from_above(self) -> np.ndarray:
        """The whole house, uint8 (S, S, 3)."""
        return self._above.pictures(self.data)[0]

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """World points (N, 3) in the cameras that show the present: (V, N, 3) of u, v and visibility."""
        return self._cameras.project(self.data, points_m)

    def close(self) -> None:
        self._cameras.close()
        self._above.close()


def _specification(
    house: House, card: EmbodimentCard, rng: np.random.Generator, held_out: bool
) -> mujoco.MjSpec:
    spec = mujoco.MjSpec()
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.stat.extent, spec.stat.center = 1.0, [0, 0, 0]
    spec.visual.map.znear, spec.visual.map.zfar = 0.05, 60.0
    spec.visual.headlight.ambient = [0.5, 0.5, 0.5]
    spec.visual.headlight.diffuse = [0.3, 0.3, 0.3]
    spec.visual.headlight.specular = [0, 0, 0]
    spec.worldbody.add_light(directional=True, pos=[0, 0, 10], dir=[0.4, 0.25, -1], castshadow=False)
    for number, room in enumerate(house.rooms):
        _add_room(spec.worldbody, house, number, room, rng, held_out)
    for door in house.doors:
        lintel = door.opening(WALL_M / 2)
        _add_box(spec.worldbody, lintel, (DOOR_HEIGHT_M, WALL_HEIGHT_M), (0.55, 0.5, 0.45))
    for thing in house.things:
        _add_thing(spec.worldbody, thing)
    _add_person(spec.worldbody.add_body(name="person", mocap=True))
    _add_base(spec.worldbody.add_body(name="base", mocap=True), card)
    _add_top(spec.worldbody, house.extent)
    return spec


def _add_room(
    world: mujoco.MjsBody, house: House, number: int, room: Room, rng: np.random.Generator, held_out: bool
) -> None:
    hue = (_FLOORS[room.kind] + (0.25 if held_out else 0.0) + rng.uniform(-0.02, 0.02)) % 1.0
    floor = colorsys.hsv_to_rgb(hue, rng.uniform(0.15, 0.4), rng.uniform(0.45, 0.75))
    wall = colorsys.hsv_to_rgb(rng.uniform(0, 1), rng.uniform(0.05, 0.2), rng.uniform(0.65, 0.95))
    for tile in room.tiles():
        _add_box(world, tile, (-0.02, 0.0), floor)
    for owner, side in house.walls():
        if owner == number:
            _add_box(world, side, (0.0, WALL_HEIGHT_M), wall)


def _add_box(
    world: mujoco.MjsBody, floor: Rectangle, heights_m: tuple[float, float], rgb: Sequence[float]
) -> None:
    (wide, deep), (low, high) = floor.size, heights_m
    world.add_geom(
        type=_BOX, size=[wide / 2, deep / 2, (high - low) / 2], pos=[*floor.center, (low + high) / 2],
        rgba=[*rgb, 1],
    )  # fmt: skip


def _add_thing(world: mujoco.MjsBody, thing: Thing) -> None:
    turn = thing.turn * np.pi / 2
    body = world.add_body(pos=[*thing.place, 0], quat=[np.cos(turn / 2), 0, 0, np.sin(turn / 2)])
    for part in CATALOGUE[thing.kind].parts:
        _add_part(body, part, thing)


def _add_part(body: mujoco.MjsBody, part: Part, thing: Thing) -> None:
    low, high, size = np.array(part.low), np.array(part.high), np.array(thing.size_m)
    half = np.maximum((high - low) * size / 2, 0.002)
    middle = ((low + high) / 2 - [0.5, 0.5, 0.0]) * size
    rgba = [*np.clip(part.tone * np.array(thing.rgb), 0, 1), 1]
    if part.round:
        body.add_geom(type=_CYLINDER, size=[min(half[:2]), half[2], 0], pos=middle, rgba=rgba)
    else:
        body.add_geom(type=_BOX, size=half, pos=middle, rgba=rgba)


def _add_person(body: mujoco.MjsBody) -> None:
    """Trousers, a jacket and a head, which looks along x."""
    radius, high = _PERSON_M
    for low, top, rgb in ((0.0, 0.5, (0.2, 0.2, 0.3)), (0.5, 0.85, (0.9, 0.2, 0.5))):
        size = [radius, (top - low) * high / 2, 0]
        body.add_geom(type=_CYLINDER, size=size, pos=[0, 0, (low + top) * high / 2], rgba=[*rgb, 1])
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.13, 0, 0], pos=[0.03, 0, 0.93 * high],
        rgba=[0.85, 0.65, 0.5, 1],
    )  # fmt: skip


def _add_base(body: mujoco.MjsBody, card: EmbodimentCard) -> None:
    """Its cameras, and an arrow that only the camera above the house sees."""
    for x, wide in ((-0.12, 0.18), (0.0, 0.12), (0.12, 0.06)):
        body.add_geom(type=_BOX, size=[0.06, wide, 0.01], pos=[x, 0, 0.05], rgba=[1.0, 0.1, 0.1, 1])
    for camera in card.cameras:
        body.add_camera(
            name=camera.name, pos=camera.pos_m, quat=camera.quat_wxyz, fovy=float(np.degrees(camera.fovy_rad))
        )


def _add_top(world: mujoco.MjsBody, extent: Rectangle) -> None:
    height = WALL_HEIGHT_M + 0.55 * max(extent.size) / np.tan(_TOP_FOVY_RAD / 2)
    world.add_camera(name=TOP, pos=[*extent.center, height], fovy=float(np.degrees(_TOP_FOVY_RAD)))
