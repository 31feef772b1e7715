"""What the road looks like: pavement, markings, houses and cars from primitives, drawn without shadows."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import mujoco
import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.worlds.cameras import Cameras
from kinema.worlds.road.cars import CENTER_M, LENGTH_M, WIDTH_M, Pose, Traffic
from kinema.worlds.road.lanes import CROSSING_M, LANE_M, REACH_M, STOP_LINE_M
from kinema.worlds.variation import draw_shade

_BOX = mujoco.mjtGeom.mjGEOM_BOX
_CARS, _HOUSES = 8, 16
_FAR = 90.0
_WHITE, _YELLOW = (0.92, 0.92, 0.92, 1.0), (0.85, 0.70, 0.15, 1.0)
_HIDDEN_Z_M = -20.0


class RoadScene:
    """The drawn world of one compiled model: cars are moved, everything else is coloured at a reset."""

    def __init__(self, card: EmbodimentCard, image_size: int) -> None:
        self._card = card
        self.model = _specification(card).compile()
        self.data = mujoco.MjData(self.model)
        self._cars = [int(self.model.body(f"car{i}").mocapid[0]) for i in range(_CARS)]
        self._ego = int(self.model.body("ego").mocapid[0])
        self._cameras = Cameras(self.model, card.camera_names, image_size)

    def dress(self, rng: np.random.Generator, held_out: bool = False) -> None:
        """Colours of sky, grass, pavement and houses, and where the houses stand."""
        model = self.model
        sky = (0.60, 0.25, 0.95) if not held_out else (0.08, 0.35, 0.85)
        grass = (
            rng.uniform(0.24, 0.32) if not held_out else rng.uniform(0.10, 0.14),
            0.45,
            rng.uniform(0.4, 0.6),
        )
        for name in (f"sky{i}" for i in range(4)):
            model.geom_rgba[model.geom(name).id, :3] = colorsys.hsv_to_rgb(*sky)
        model.geom_rgba[model.geom("grass").id, :3] = colorsys.hsv_to_rgb(*grass)
        grey = rng.uniform(0.28, 0.38)
        for i in range(3):
            model.geom_rgba[model.geom(f"road{i}").id, :3] = grey
        for i in range(_HOUSES):
            self._place_house(rng, i)
        mujoco.mj_forward(model, self.data)

    def paint(self, rng: np.random.Generator, colors: Sequence[str], held_out: bool = False) -> None:
        """One shade of each car's colour."""
        for i, color in enumerate(colors):
            self.model.geom_rgba[self.model.geom(f"car{i}/body").id, :3] = draw_shade(rng, color, held_out)

    def _place_house(self, rng: np.random.Generator, i: int) -> None:
        """Beside a road, four in each of the quarters between them."""
        geom = self.model.geom(f"house{i}").id
        half = rng.uniform([3, 3, 2], [6, 6, 7])
        near, along = 14.0 + half.max() + rng.uniform(0, 3), 16.0 + 14.0 * (i // 4 % 2) + rng.uniform(0, 12)
        place = np.array([near, along] if i % 2 else [along, near])
        place *= [(1, 1), (-1, 1), (-1, -1), (1, -1)][i % 4]
        self.model.geom_size[geom] = half
        self.model.geom_rbound[geom] = np.linalg.norm(half)
        self.model.body_pos[self.model.body(f"house{i}").id] = [*place, half[2]]
        self.model.geom_rgba[geom, :3] = colorsys.hsv_to_rgb(
            rng.uniform(0.0, 0.12), rng.uniform(0.05, 0.4), rng.uniform(0.5, 0.9)
        )

    def show(self, ego: Pose, traffic: Sequence[Traffic]) -> None:
        """Put the cars where they are; those that are not used wait under the ground."""
        self._put(self._ego, ego)
        for i, mocap in enumerate(self._cars):
            if i >= len(traffic):
                self.data.mocap_pos[mocap] = [0, 0, _HIDDEN_Z_M]
                continue
            self._put(mocap, traffic[i].pose)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _put(self, mocap: int, pose: Pose) -> None:
        self.data.mocap_pos[mocap] = [pose.x, pose.y, 0.0]
        self.data.mocap_quat[mocap] = [np.cos(pose.heading / 2), 0, 0, np.sin(pose.heading / 2)]

    def render(self) -> dict[str, np.ndarray]:
        """uint8 (H, W, 3) by camera name."""
        return dict(zip(self._card.camera_names, self._cameras.pictures(self.data)))

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """World points (N, 3) in every camera: (V, N, 3) float32 of u, v and visibility."""
        return self._cameras.project(self.data, points_m)

    def close(self) -> None:
        self._cameras.close()


def _specification(card: EmbodimentCard) -> mujoco.MjSpec:
    spec = mujoco.MjSpec()
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.stat.extent, spec.stat.center = 1.0, [0, 0, 0]
    spec.visual.map.znear, spec.visual.map.zfar = 0.2, 300.0
    spec.visual.headlight.ambient = [0.45, 0.45, 0.45]
    spec.visual.headlight.diffuse = [0.25, 0.25, 0.25]
    spec.visual.headlight.specular = [0, 0, 0]
    spec.worldbody.add_light(directional=True, pos=[0, 0, 50], dir=[0.3, 0.2, -1], castshadow=False)
    _ground(spec.worldbody)
    _markings(spec.worldbody)
    for i in range(_HOUSES):
        # a body of its own: a geom that is compiled in its body's frame cannot be moved within it
        spec.worldbody.add_body(name=f"house{i}").add_geom(name=f"house{i}", type=_BOX, size=[3, 3, 3])
    for i in range(_CARS):
        _add_car(spec.worldbody.add_body(name=f"car{i}", mocap=True), f"car{i}")
    ego = spec.worldbody.add_body(name="ego", mocap=True)
    # the bonnet, so that the pictures show which way the car points
    ego.add_geom(type=_BOX, size=[0.5, 0.75, 0.02], pos=[3.0, 0, 0.80], rgba=[0.25, 0.27, 0.30, 1])
    for camera in card.cameras:
        ego.add_camera(
            name=camera.name, pos=camera.pos_m, quat=camera.quat_wxyz, fovy=float(np.degrees(camera.fovy_rad))
        )
    return spec


def _ground(world: mujoco.MjsBody) -> None:
    long, wide = REACH_M + 20, 2 * LANE_M
    world.add_geom(name="grass", type=_BOX, size=[100, 100, 0.02], pos=[0, 0, -0.08])
    world.add_geom(name="road0", type=_BOX, size=[long, wide, 0.02], pos=[0, 0, -0.05])
    world.add_geom(name="road1", type=_BOX, size=[wide, long, 0.02], pos=[0, 0, -0.05])
    world.add_geom(name="road2", type=_BOX, size=[CROSSING_M, CROSSING_M, 0.02], pos=[0, 0, -0.05])
    for i, (x, y) in enumerate([(_FAR, 0), (-_FAR, 0), (0, _FAR), (0, -_FAR)]):
        size = [0.5, 120, 60] if x else [120, 0.5, 60]
        world.add_geom(name=f"sky{i}", type=_BOX, size=size, pos=[x, y, 30])


def _markings(world: mujoco.MjsBody) -> None:
    """On each of the four arms: a yellow middle, white dashes and edges, and the line to stop at."""
    middle, half = (CROSSING_M + REACH_M) / 2 + 1, (REACH_M - CROSSING_M) / 2 - 1
    for quarter in range(4):
        cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter]
        turned = [np.cos(quarter * np.pi / 4), 0, 0, np.sin(quarter * np.pi / 4)]

        def strip(x: float, y: float, length: float, width: float, rgba: Sequence[float]) -> None:
            pos = [cosine * x - sine * y, sine * x + cosine * y, -0.025]  # noqa: B023
            world.add_geom(type=_BOX, size=[length, width, 0.005], pos=pos, quat=turned, rgba=rgba)  # noqa: B023

        for side in (-1, 1):
            strip(middle, side * 0.15, half, 0.06, _YELLOW)
            strip(middle, side * (2 * LANE_M - 0.15), half, 0.06, _WHITE)
            for dash in np.arange(CROSSING_M + 3, REACH_M, 6.0):
                strip(float(dash), side * LANE_M, 1.5, 0.07, _WHITE)
        # those who come towards the crossing on this arm keep to its other side
        strip(STOP_LINE_M, LANE_M, 0.2, LANE_M - 0.2, _WHITE)


def _add_car(body: mujoco.MjsBody, name: str) -> None:
    half, wide = LENGTH_M / 2, WIDTH_M / 2
    body.add_geom(name=f"{name}/body", type=_BOX, size=[half, wide, 0.32], pos=[CENTER_M, 0, 0.62])
    body.add_geom(
        type=_BOX,
        size=[0.5 * half, 0.85 * wide, 0.26],
        pos=[CENTER_M - 0.3, 0, 1.18],
        rgba=[0.15, 0.18, 0.22, 1],
    )
    for end, rgba in ((-half, [0.8, 0.05, 0.05, 1]), (half, [1, 1, 0.85, 1])):
        for side in (-1, 1):
            body.add_geom(
                type=_BOX, size=[0.03, 0.18, 0.08], pos=[CENTER_M + end, side * 0.62, 0.75], rgba=rgba
            )
    for x in (CENTER_M - 1.35, CENTER_M + 1.35):
        body.add_geom(type=_BOX, size=[0.32, wide * 1.02, 0.3], pos=[x, 0, 0.3], rgba=[0.05, 0.05, 0.05, 1])
