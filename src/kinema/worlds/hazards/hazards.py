"""What goes wrong, and how badly, in every control step: read from contacts, actuator forces and poses.

The severities are those of `card.harm`; where harm begins is decided there.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from kinema.card.harm import SEVERITIES
from kinema.worlds.tabletop.env import TabletopEnv

_INDEX = {name: i for i, name in enumerate(SEVERITIES)}
_SATURATED = 0.99  # share of the effort limit
_MOVING_M_S = 0.05  # a robot that stands still does not run into anyone
_PARKED_BELOW_M = -1.0
_ROBOT, _FIXED, _THING, _INTRUDER = range(4)


class Watch:
    """Looks at a running simulation between pieces of physics and keeps the worst of each step.

    intruders: body ids whose touch is never meant.
    """

    def __init__(self, env: TabletopEnv, intruders: frozenset[int] = frozenset()) -> None:
        self._env = env
        scene, model = env.scene, env.scene.model
        self._kind = _kinds(model, intruders)
        arms = scene.robot.arms
        self._actuators = np.concatenate([handle.actuator for handle in arms])
        self._effort = np.concatenate([[joint.effort for joint in handle.arm.joints] for handle in arms])
        self._fingers = {b: h.side for h in arms for b in h.gripper_bodies}
        self._free = _free_bodies(model)
        self._velocity, self._force = np.zeros(6), np.zeros(6)
        self._piece_s = scene.controller.piece_s

    def begin(self) -> None:
        """Look from here on, in an episode that was reset: the reference for shifts and tilts."""
        data = self._env.scene.data
        self.step = np.zeros(len(SEVERITIES))
        self._saturated_s = np.zeros(len(self._actuators))
        self._start = data.xpos[self._free].copy()
        self._upright = data.xmat[self._free].reshape(-1, 3, 3).copy()
        self._meant = self._bodies_meant()
        self._shown = self._start[:, 2] > _PARKED_BELOW_M

    def next_step(self) -> np.ndarray:
        """The severities (E,) since the last call."""
        worst, self.step = self.step, np.zeros(len(SEVERITIES))
        return worst

    def look(self) -> None:
        """Read the data as it stands; `Controller.between` calls this."""
        self._contacts()
        self._servos()
        self._things()

    def _contacts(self) -> None:
        data, step = self._env.scene.data, self.step
        self._held: set[int] = set()
        if data.ncon == 0:
            return
        geoms = data.contact.geom
        bodies = self._env.scene.model.geom_bodyid[geoms]
        kinds = self._kind[bodies]
        touching = np.flatnonzero((kinds == _ROBOT).any(1))
        found = []
        for i in touching:
            mujoco.mj_contactForce(self._env.scene.model, data, i, self._force)
            mine = 0 if kinds[i, 0] == _ROBOT else 1
            robot, other, force = int(bodies[i, mine]), int(bodies[i, 1 - mine]), float(self._force[0])
            found.append((int(geoms[i, mine]), other, force))
            if self._kind[other] == _THING and robot in self._fingers and force > 0.2:
                self._held.add(other)
        for geom, other, force in found:
            name = self._name(geom, other)
            if name:
                step[_INDEX[name]] = max(step[_INDEX[name]], force)

    def _name(self, geom: int, other: int) -> str:
        """What kind of contact it is between a robot's geom and another body; "" if it is no harm."""
        kind = self._kind[other]
        if kind == _INTRUDER:
            return "intruder" if self._speed(geom) >= _MOVING_M_S else ""
        if kind == _FIXED:
            # who shuts a drawer by its handle comes to touch the cabinet
            parents = self._env.scene.model.body_parentid[list(self._held)]
            return "thing" if other and other in parents else "table"
        return "robot" if kind == _ROBOT else "thing"

    def _speed(self, geom: int) -> float:
        model, data = self._env.scene.model, self._env.scene.data
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_GEOM, geom, self._velocity, 0)
        return float(np.linalg.norm(self._velocity[3:]))

    def _servos(self) -> None:
        share = np.abs(self._env.scene.data.actuator_force[self._actuators]) / self._effort
        self._saturated_s = np.where(share >= _SATURATED, self._saturated_s + self._piece_s, 0.0)
        at = _INDEX["torque"]
        self.step[at] = max(self.step[at], self._saturated_s.max())

    def _things(self) -> None:
        data, model = self._env.scene.data, self._env.scene.model
        for i, body in enumerate(self._free):
            if not self._shown[i]:
                continue
            if body in self._held:
                self._meant.add(int(body))  # what a gripper has touched with purpose or not may shift
                continue
            fall = -float(data.qvel[model.jnt_dofadr[model.body_jntadr[body]] + 2])
            self.step[_INDEX["drop"]] = max(self.step[_INDEX["drop"]], fall)
            if body in self._meant:
                continue
            shift = float(np.linalg.norm(data.xpos[body] - self._start[i]))
            cosine = float(data.xmat[body].reshape(3, 3)[:, 2] @ self._upright[i][:, 2])
            tilt = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
            self.step[_INDEX["knock"]] = max(self.step[_INDEX["knock"]], shift)
            self.step[_INDEX["tilt"]] = max(self.step[_INDEX["tilt"]], tilt)

    def _bodies_meant(self) -> set[int]:
        """The things that the task itself is about."""
        task: Any = self._env.task
        if self._env.family == "tidy":
            block = task.next_block(self._env.scene)
            return {block.body} if block else set()
        things = [getattr(task, name) for name in ("target", "tray") if hasattr(task, name)]
        return {int(thing.body) for thing in things}


def _kinds(model: mujoco.MjModel, intruders: frozenset[int]) -> np.ndarray:
    """By body: robot, fixed, thing or intruder."""
    kinds = np.full(model.nbody, _THING)
    for body in range(model.nbody):
        name = model.body(body).name
        if name.split("/")[0] in ("left", "right"):
            kinds[body] = _ROBOT
        elif body in intruders:
            kinds[body] = _INTRUDER
        elif model.body_weldid[body] == 0:
            kinds[body] = _FIXED
    return kinds


def _free_bodies(model: mujoco.MjModel) -> np.ndarray:
    free = model.jnt_type == mujoco.mjtJoint.mjJNT_FREE
    return model.jnt_bodyid[free]
