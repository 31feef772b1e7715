"""Things on the table: how each is built into a specification and then moved, shaped and coloured.

A model is compiled once per card and family and serves thousands of resets, so a prop changes by
writing to the compiled model: `geom_size`, `geom_rgba`, `body_pos`. A thing that an episode
does not use is parked: under the table, without collisions and without weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from kinema.worlds.body.robots import (
    FIXED_COLLIDES,
    NEVER_COLLIDES,
    OBJECT_COLLIDES,
    OBJECT_GROUP,
    ROBOT_GROUP,
)

_BOX, _CYLINDER = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
PARKED_Z_M = -2.0
SHOWN, HIDDEN = 0, 5  # geom groups; the cameras draw the first only, so that parked things cost nothing
BLOCK_MASS_KG = 0.06

RGB = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A block's form. `half_m` are half extents along x, y, z; the gripper closes along y."""

    kind: str  # "box", "cylinder", "hexagon"
    half_m: tuple[float, float, float]


class Block:
    """A free rigid block: one box, or three turned by 60 degrees, which make an exact hexagonal prism.

    A cylinder is a hexagonal prism under a round skin that only the cameras see: MuJoCo's own cylinders
    rock on boxes without coming to rest.
    """

    noun = "block"

    def __init__(self, name: str) -> None:
        self.name = name
        self.shape = Shape(kind="box", half_m=(0.0225, 0.0225, 0.0225))
        self.color = ""
        self.parked = True

    def add(self, spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name=self.name, pos=[0, 0, PARKED_Z_M])
        body.add_freejoint(name=self.name)
        for i in range(3):
            turn = i * np.pi / 3
            body.add_geom(
                name=f"{self.name}/{i}",
                type=_BOX,
                size=self.shape.half_m,
                quat=[np.cos(turn / 2), 0, 0, np.sin(turn / 2)],
                mass=BLOCK_MASS_KG / 3,
                condim=4,
                friction=[0.45, 0.005, 0.0001],
                solref=[0.008, 1.0],
                **OBJECT_COLLIDES,
            )
        size = self.shape.half_m
        body.add_geom(name=f"{self.name}/skin", type=_CYLINDER, size=size, mass=0.0, **NEVER_COLLIDES)

    def bind(self, model: mujoco.MjModel) -> None:
        self.body = model.body(self.name).id
        self.skin = model.geom(f"{self.name}/skin").id
        self.geoms = np.array([model.geom(f"{self.name}/{i}").id for i in range(3)])
        joint = model.joint(self.name)
        self.qpos, self.dof = int(joint.qposadr[0]), int(joint.dofadr[0])

    def set_form(self, model: mujoco.MjModel, shape: Shape, rgb: RGB) -> None:
        self.shape = shape
        half = np.array(shape.half_m)
        solids = 1 if shape.kind == "box" else 3
        # Half the side of a regular hexagon whose width across flats is the block's.
        size = half if shape.kind == "box" else np.array([half[1] / np.sqrt(3), half[1], half[2]])
        skinned = shape.kind == "cylinder"
        for i, geom in enumerate(self.geoms):
            model.geom_size[geom] = size
            model.geom_rbound[geom] = np.linalg.norm(half) * 1.1
            model.geom_aabb[geom, 3:] = half * 1.1
            model.geom_rgba[geom] = [*rgb, 1.0 if i < solids and not skinned else 0.0]
            model.geom_contype[geom] = OBJECT_GROUP if i < solids else 0
            model.geom_conaffinity[geom] = (ROBOT_GROUP | OBJECT_GROUP) if i < solids else 0
        model.geom_size[self.skin] = [1.05 * half[1], half[2], 0.0]  # between the corners and the flats
        model.geom_rbound[self.skin] = np.linalg.norm(half) * 1.1
        model.geom_rgba[self.skin] = [*rgb, float(skinned)]
        # The solid box's inertia stands for all three forms: the error is under a fifth.
        squares = half**2
        model.body_inertia[self.body] = BLOCK_MASS_KG / 3 * (squares.sum() - squares)
        self._refresh_bounds(model)

    def _refresh_bounds(self, model: mujoco.MjModel) -> None:
        """The body's own box in MuJoCo's collision tree, which is computed at compile time."""
        bound = np.linalg.norm(self.shape.half_m) * 1.1
        first, count = model.body_bvhadr[self.body], model.body_bvhnum[self.body]
        if count > 0:
            model.bvh_aabb[first : first + count, :3] = 0.0
            model.bvh_aabb[first : first + count, 3:] = bound

    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, xy: np.ndarray, yaw_rad: float, z: float = 0.0
    ) -> None:
        """Put the block with its bottom at height z."""
        data.qpos[self.qpos : self.qpos + 3] = [*xy, z + self.shape.half_m[2]]
        data.qpos[self.qpos + 3 : self.qpos + 7] = [np.cos(yaw_rad / 2), 0, 0, np.sin(yaw_rad / 2)]
        data.qvel[self.dof : self.dof + 6] = 0.0
        model.body_gravcomp[self.body] = 0.0
        model.geom_group[[*self.geoms, self.skin]] = SHOWN
        self.parked = False

    def park(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        data.qpos[self.qpos : self.qpos + 7] = [0, 0, PARKED_Z_M, 1, 0, 0, 0]
        data.qvel[self.dof : self.dof + 6] = 0.0
        model.body_gravcomp[self.body] = 1.0
        model.geom_contype[self.geoms] = 0
        model.geom_conaffinity[self.geoms] = 0
        model.geom_group[[*self.geoms, self.skin]] = HIDDEN
        self.parked = True

    @property
    def shown(self) -> np.ndarray:
        """The geoms that show it."""
        return np.array([*self.geoms, self.skin])

    def position(self, data: mujoco.MjData) -> np.ndarray:
        return data.xpos[self.body].copy()

    def speed(self, data: mujoco.MjData) -> float:
        return float(np.linalg.norm(data.qvel[self.dof : self.dof + 3]))

    def upright(self, data: mujoco.MjData) -> bool:
        """Within about 14 degrees of resting flat on one of its faces."""
        return bool(np.abs(data.xmat[self.body][6:]).max() > 0.97)

    def half_height(self, data: mujoco.MjData) -> float:
        """Half its extent along the vertical as it lies [m]."""
        return float(np.abs(data.xmat[self.body][6:]) @ np.array(self.shape.half_m))

    def clearance_m(self, data: mujoco.MjData) -> float:
        """How far its lowest point is over the table; 0 while it lies there, flat or on an edge."""
        return float(data.xpos[self.body][2]) - self.half_height(data)


class Fixture:
    """Bodies fixed to the table whose place is set at reset: containers, regions, bases."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.color = ""

    def add_body(self, spec: mujoco.MjSpec) -> mujoco.MjsBody:
        return spec.worldbody.add_body(name=self.name, pos=[0, 0, PARKED_Z_M])

    def bind(self, model: mujoco.MjModel) -> None:
        self.body = model.body(self.name).id
        first = model.body_geomadr[self.body]
        self.geoms = np.arange(first, first + model.body_geomnum[self.body])

    def place(self, model: mujoco.MjModel, xy: np.ndarray, yaw_rad: float = 0.0) -> None:
        model.body_pos[self.body] = [*xy, 0.0]
        model.geom_group[self.geoms] = SHOWN
        model.body_quat[self.body] = [np.cos(yaw_rad / 2), 0, 0, np.sin(yaw_rad / 2)]

    def park(self, model: mujoco.MjModel) -> None:
        model.body_pos[self.body] = [0, 0, PARKED_Z_M]
        model.geom_group[self.geoms] = HIDDEN

    def paint(self, model: mujoco.MjModel, rgb: RGB) -> None:
        model.geom_rgba[self.geoms, :3] = rgb

    def stands(self, data: mujoco.MjData) -> bool:
        """Whether it is in this episode."""
        return bool(self.position(data)[2] > PARKED_Z_M / 2)

    def position(self, data: mujoco.MjData) -> np.ndarray:
        return data.xpos[self.body].copy()


class Container(Fixture):
    """Something to put a block into or onto. `radius_m`: half its inner width; `rim_m`: its height."""

    def __init__(self, name: str, kind: str, radius_m: float, rim_m: float) -> None:
        super().__init__(name)
        self.kind, self.radius_m, self.rim_m = kind, radius_m, rim_m

    def add(self, spec: mujoco.MjSpec) -> None:
        body = self.add_body(spec)
        radius, rim = self.radius_m, self.rim_m
        floor = rim if self.kind == "plate" else 0.004
        # A block rests on an unseen square: boxes rock without end on MuJoCo's cylinders.
        inner = radius if self.kind == "tray" else 0.85 * radius
        square = {"size": [inner, inner, floor / 2], "pos": [0, 0, floor / 2], "type": _BOX}
        if self.kind == "tray":
            body.add_geom(**square, **FIXED_COLLIDES)
        else:
            body.add_geom(
                type=_CYLINDER, size=[radius, floor / 2, 0], pos=[0, 0, floor / 2], **NEVER_COLLIDES
            )
            body.add_geom(rgba=[0, 0, 0, 0], **square, **FIXED_COLLIDES)
        if self.kind == "plate":
            return
        walls = 4 if self.kind == "tray" else 10
        wall_half = 0.004
        # The walls lean outwards, so that a block on the rim slides in.
        lean = 0.0 if self.kind == "tray" else 0.25
        for i in range(walls):
            turn = 2 * np.pi * i / walls
            length = (radius + 2 * wall_half) * np.tan(np.pi / walls) + 0.002
            quat, tilt = np.zeros(4), np.zeros(4)
            mujoco.mju_axisAngle2Quat(quat, np.array([0.0, 0, 1]), turn)
            mujoco.mju_axisAngle2Quat(tilt, np.array([0.0, 1, 0]), lean)
            mujoco.mju_mulQuat(quat, quat.copy(), tilt)
            body.add_geom(
                type=_BOX,
                size=[wall_half, length, rim / 2],
                pos=[(radius + wall_half) * np.cos(turn), (radius + wall_half) * np.sin(turn), rim / 2],
                quat=quat,
                friction=[0.3, 0.005, 0.0001],
                **FIXED_COLLIDES,
            )

    def surface(self, data: mujoco.MjData) -> np.ndarray:
        """The middle of the surface that things rest on (3,)."""
        return self.position(data) + np.array([0.0, 0.0, self.floor_m])

    @property
    def floor_m(self) -> float:
        return self.rim_m if self.kind == "plate" else 0.004


class Region(Fixture):
    """A flat coloured disc on the table: seen, never felt."""

    def __init__(self, name: str, radius_m: float) -> None:
        super().__init__(name)
        self.radius_m = radius_m

    def add(self, spec: mujoco.MjSpec) -> None:
        self.add_body(spec).add_geom(
            type=_CYLINDER, size=[self.radius_m, 0.001, 0], pos=[0, 0, 0.001], **NEVER_COLLIDES
        )
