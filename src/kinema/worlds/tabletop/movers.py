"""Things on the table that move by themselves: a ball that rolls, and a belt that carries what lies on it."""

from __future__ import annotations

import mujoco
import numpy as np

from kinema.worlds.body.robots import (
    FIXED_COLLIDES,
    NEVER_COLLIDES,
    OBJECT_COLLIDES,
    OBJECT_GROUP,
    ROBOT_GROUP,
)
from kinema.worlds.tabletop.props import BLOCK_MASS_KG, PARKED_Z_M, RGB, SHOWN, Block, Fixture, Shape

BELT_TOP_M = 0.012
BELT_HALF_M = (0.36, 0.040)  # along and across
_STRIPE_M = 0.06  # from one stripe of the belt to the next
_BELT_RGB, _STRIPE_RGB = (0.16, 0.17, 0.19), (0.55, 0.56, 0.58)
_HEAVY_KG = 500.0  # so that nothing that lies on the belt or is pressed against it slows it down


class Ball(Block):
    """A free rigid sphere. `shape.half_m` are its radius three times.

    The table has no rolling friction, so on it a ball keeps its speed; everything else brakes it.
    """

    noun = "ball"

    def add(self, spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name=self.name, pos=[0, 0, PARKED_Z_M])
        body.add_freejoint(name=self.name)
        body.add_geom(
            name=self.name,
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[self.shape.half_m[0], 0, 0],
            mass=BLOCK_MASS_KG,
            condim=6,
            friction=[0.45, 0.005, 0.002],
            solref=[0.008, 1.0],
            **OBJECT_COLLIDES,
        )

    def bind(self, model: mujoco.MjModel) -> None:
        self.body = model.body(self.name).id
        self.skin = model.geom(self.name).id
        self.geoms = np.array([self.skin])
        joint = model.joint(self.name)
        self.qpos, self.dof = int(joint.qposadr[0]), int(joint.dofadr[0])

    def set_form(self, model: mujoco.MjModel, shape: Shape, rgb: RGB) -> None:
        """A ball that is as wide where the jaws close as that shape."""
        radius = shape.half_m[1]
        self.shape = Shape(kind="ball", half_m=(radius, radius, radius))
        model.geom_size[self.skin] = [radius, 0.0, 0.0]
        model.geom_rbound[self.skin] = radius
        model.geom_aabb[self.skin, 3:] = radius
        model.geom_rgba[self.skin] = [*rgb, 1.0]
        model.geom_contype[self.skin] = OBJECT_GROUP
        model.geom_conaffinity[self.skin] = ROBOT_GROUP | OBJECT_GROUP
        model.body_inertia[self.body] = 0.4 * BLOCK_MASS_KG * radius**2
        self._refresh_bounds(model)

    def half_height(self, data: mujoco.MjData) -> float:
        return self.shape.half_m[0]

    def roll(self, data: mujoco.MjData, velocity_m_s: np.ndarray) -> None:
        """Roll over the table, without slipping, at this velocity (2,)."""
        (vx, vy), radius = velocity_m_s, self.shape.half_m[0]
        data.qvel[self.dof : self.dof + 6] = [vx, vy, 0.0, -vy / radius, vx / radius, 0.0]


class Belt(Fixture):
    """A level belt that runs along its own x axis, on and on.

    What is felt is a slab on a slide joint, which is put back by one stripe as often as it has moved by one:
    the surface is the same and its speed goes on. What is seen stands still, but for the stripes.
    """

    def add(self, spec: mujoco.MjSpec) -> None:
        body, (along, across) = self.add_body(spec), BELT_HALF_M
        box = mujoco.mjtGeom.mjGEOM_BOX
        thick = BELT_TOP_M / 2
        body.add_geom(
            type=box, size=[along, across, thick], pos=[0, 0, thick], rgba=[*_BELT_RGB, 1], **NEVER_COLLIDES
        )
        slab = body.add_body(name=f"{self.name}/slab")
        slab.add_joint(name=self.name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[1, 0, 0], armature=_HEAVY_KG)
        slab.add_geom(
            type=box,
            size=[along, across, thick],
            pos=[0, 0, thick],
            mass=1.0,
            friction=[0.8, 0.005, 0.0001],
            solref=[0.008, 1.0],
            rgba=[0, 0, 0, 0],
            **FIXED_COLLIDES,
        )
        stripes = round(2 * along / _STRIPE_M) - 1
        for i in range(stripes):
            x = (i - (stripes - 1) / 2) * _STRIPE_M
            slab.add_geom(
                type=box,
                size=[0.004, across, 0.0004],
                pos=[x, 0, BELT_TOP_M],
                mass=0.0,
                rgba=[*_STRIPE_RGB, 1],
                **NEVER_COLLIDES,
            )

    def bind(self, model: mujoco.MjModel) -> None:
        super().bind(model)
        slab = model.body(f"{self.name}/slab").id
        self.geoms = np.flatnonzero(np.isin(model.geom_bodyid, [self.body, slab]))
        model.geom_group[self.geoms] = SHOWN
        joint = model.joint(self.name)
        self._qpos, self._dof, self.speed_m_s = int(joint.qposadr[0]), int(joint.dofadr[0]), 0.0

    def run(self, data: mujoco.MjData, speed_m_s: float) -> None:
        self.speed_m_s = speed_m_s
        self.move_on(data)

    def move_on(self, data: mujoco.MjData) -> None:
        """Keep the speed, and put the slab back where it has moved by a stripe."""
        data.qvel[self._dof] = self.speed_m_s
        if data.qpos[self._qpos] > _STRIPE_M / 2:
            data.qpos[self._qpos] -= _STRIPE_M
