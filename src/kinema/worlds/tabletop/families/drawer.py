"""Open or close the drawer of a small cabinet by its handle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import mujoco
import numpy as np

from kinema.schema import KinemaError
from kinema.worlds.body.robots import FIXED_COLLIDES, NEVER_COLLIDES, OBJECT_COLLIDES
from kinema.worlds.tabletop.experts.motion import (
    SECURE_N,
    Targets,
    ToolTarget,
    grasp_at,
    retreat,
    share,
    step_m,
)
from kinema.worlds.tabletop.family import Episode, Family, Templates, Thing
from kinema.worlds.tabletop.layout import RING_M
from kinema.worlds.tabletop.props import Fixture
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.sentence import Request, Sentence
from kinema.worlds.variation import COLORS, UNNAMED_COLORS

TRAVEL_M = 0.12
_OPEN_M, _CLOSED_M = 0.095, 0.015
_GUIDED_M = 0.06  # of its way between the jaws: it was moved by its handle
_FLUNG_M_S = 0.6  # faster than a hand would move a drawer
_HALF_WIDTH_M, _HALF_DEPTH_M, _HEIGHT_M = 0.085, 0.07, 0.085
_HANDLE_Z_M, _HANDLE_LENGTH_M = 0.055, 0.060
HANDLE_WIDTH_M = 0.03  # the broader of the two
_TO_THE_END_M = 0.008  # how much farther than asked it is moved before it is let go


class Cabinet(Fixture):
    """Faces the robot (its front is the plane x = 0 of its frame, the drawer comes out along -x)."""

    def add(self, spec: mujoco.MjSpec) -> None:
        body = self.add_body(spec)
        box = mujoco.mjtGeom.mjGEOM_BOX
        wall, depth, height = 0.006, _HALF_DEPTH_M, _HEIGHT_M
        body.add_geom(
            type=box, size=[depth, _HALF_WIDTH_M, wall / 2], pos=[depth, 0, height], **FIXED_COLLIDES
        )
        for side in (-1, 1):
            body.add_geom(
                type=box,
                size=[depth, wall / 2, height / 2],
                pos=[depth, side * _HALF_WIDTH_M, height / 2],
                **FIXED_COLLIDES,
            )
        body.add_geom(
            type=box,
            size=[wall / 2, _HALF_WIDTH_M, height / 2],
            pos=[2 * depth, 0, height / 2],
            **FIXED_COLLIDES,
        )
        drawer = body.add_body(name=f"{self.name}/drawer")
        drawer.add_joint(
            name=self.name,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[-1, 0, 0],
            range=[0, TRAVEL_M],
            limited=True,
            damping=4.0,
            frictionloss=0.6,
            armature=0.1,
        )
        inner = _HALF_WIDTH_M - 0.01
        front = {"pos": [-0.005, 0, 0.042], "size": [0.005, inner, 0.036]}
        drawer.add_geom(type=box, mass=0.15, **front, **OBJECT_COLLIDES)
        drawer.add_geom(
            type=box,
            mass=0.1,
            pos=[depth - 0.005, 0, 0.012],
            size=[depth - 0.005, inner, 0.004],
            **NEVER_COLLIDES,
        )
        for side in (-1, 1):
            drawer.add_geom(
                type=box,
                mass=0.05,
                pos=[depth - 0.005, side * (inner - 0.004), 0.030],
                size=[depth - 0.005, 0.004, 0.020],
                **NEVER_COLLIDES,
            )
        half = _HANDLE_LENGTH_M / 2
        # Bar handles stand upright, knobs are round: the second is a held-out instance.
        drawer.add_geom(
            type=box,
            mass=0.05,
            pos=[-0.01 - half, 0, _HANDLE_Z_M],
            size=[half, 0.011, 0.022],
            condim=4,
            **OBJECT_COLLIDES,
        )
        drawer.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            mass=0.05,
            pos=[-0.01 - half, 0, _HANDLE_Z_M],
            quat=[np.sqrt(0.5), 0, np.sqrt(0.5), 0],
            size=[0.015, half - 0.015, 0],
            condim=4,
            **OBJECT_COLLIDES,
        )

    def bind(self, model: mujoco.MjModel) -> None:
        super().bind(model)
        self.drawer = model.body(f"{self.name}/drawer").id
        geoms = np.flatnonzero(model.geom_bodyid == self.drawer)
        self.drawer_geoms, self.handles = geoms[:-2], geoms[-2:]
        joint = model.joint(self.name)
        self.qpos, self.dof = int(joint.qposadr[0]), int(joint.dofadr[0])

    def opened_m(self, data: mujoco.MjData) -> float:
        return float(data.qpos[self.qpos])

    def handle(self, data: mujoco.MjData) -> np.ndarray:
        """The middle of the handle (3,)."""
        local = np.array([-0.015 - _HANDLE_LENGTH_M / 2, 0.0, _HANDLE_Z_M])
        return data.xpos[self.drawer] + data.xmat[self.drawer].reshape(3, 3) @ local

    def outwards(self, data: mujoco.MjData) -> np.ndarray:
        """Unit vector (3,) along which the drawer opens."""
        return -data.xmat[self.drawer].reshape(3, 3)[:, 0]


class Drawer(Family):
    name = "drawer"
    limit_s = 8.0
    templates: ClassVar = {
        "open": Templates(
            ("open the drawer", "pull the drawer open", "pull out the drawer"),
            ("please open that drawer", "slide the drawer open"),
        ),
        "close": Templates(
            ("close the drawer", "push the drawer shut", "shut the drawer"),
            ("please close that drawer", "slide the drawer shut"),
        ),
    }
    thing_noun = "drawer"
    actions: ClassVar = {"open": "open", "close": "close"}
    examples = ("open the drawer", "close the drawer")
    seen = ("drawer handle",)

    def __init__(self) -> None:
        self.cabinet = Cabinet("cabinet")
        self.opening = True

    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        self.cabinet.add(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        self.cabinet.bind(model)

    def reset(self, scene: Scene, episode: Episode) -> str:
        rng, model, cabinet = episode.rng, scene.model, self.cabinet
        wanted = episode.request.kind if episode.request else ""
        self.opening = (wanted or ("open", "close")[rng.integers(2)]) == "open"
        u, v = rng.uniform(0.55, 1.0), rng.uniform(-0.6, 0.6)
        if episode.variation.position:
            v = rng.choice([-1.0, 1.0]) * (0.65 + rng.uniform(*RING_M) / scene.area.half[1])
        place = scene.area.at(u, v)
        cabinet.place(model, place, scene.area.yaw_rad + float(rng.uniform(-0.12, 0.12)))
        palette = list(UNNAMED_COLORS if episode.variation.color else COLORS)
        body, front, handle = (episode.shade(palette[i]) for i in rng.permutation(len(palette))[:3])
        cabinet.paint(model, body)
        model.geom_rgba[cabinet.drawer_geoms, :3] = front
        shown = int(episode.variation.instance)
        for i, geom in enumerate(cabinet.handles):
            model.geom_rgba[geom] = [*handle, float(i == shown)]
            model.geom_contype[geom] = 2 if i == shown else 0
            model.geom_conaffinity[geom] = 3 if i == shown else 0
        scene.data.qpos[cabinet.qpos] = (
            rng.uniform(0.0, 0.02) if self.opening else rng.uniform(0.08, TRAVEL_M)
        )
        return self.say(episode, "open" if self.opening else "close")

    def glance(self, scene: Scene, piece_s: float) -> None:
        speed = abs(float(scene.data.qvel[self.cabinet.dof]))
        progress = self.progress
        progress.fastest_m_s = max(progress.fastest_m_s, speed)
        if any(scene.pinch_n(self.cabinet.drawer, handle.side) > 0.0 for handle in scene.robot.arms):
            progress.guided_m += speed * piece_s

    def moved(self, scene: Scene, spare_m: float = 0.0) -> bool:
        """It is as far open, or shut, as was asked for, and `spare_m` farther."""
        opened = self.cabinet.opened_m(scene.data)
        return opened > _OPEN_M + spare_m if self.opening else opened < _CLOSED_M - spare_m

    def holds(self, scene: Scene) -> bool:
        """It was moved there by its handle, or gently; knocked there, it was flung."""
        progress = self.progress
        handled = progress.guided_m > _GUIDED_M or progress.fastest_m_s < _FLUNG_M_S
        return self.moved(scene) and handled

    def plan(self, scene: Scene) -> Targets:
        """Grasp the handle, pull or push along the drawer's axis to the end, and let go before rising."""
        cabinet, side = self.cabinet, "right"
        held = scene.pinch_n(cabinet.drawer, side) >= SECURE_N
        tool, handle = scene.tool(side), cabinet.handle(scene.data)
        if self.moved(scene, spare_m=_TO_THE_END_M) or (self.moved(scene) and not held):
            if np.linalg.norm(handle - tool) < 0.05 and scene.gap_m(side) < HANDLE_WIDTH_M + 0.01:
                return {side: ToolTarget(position_m=tool, opening=1.0)}
            return {side: retreat(scene, side)}
        if not held:
            return {side: grasp_at(scene, handle, side)}
        direction = cabinet.outwards(scene.data) * (1.0 if self.opening else -1.0)
        offset = handle - tool
        across = offset - direction * (offset @ direction)
        step = direction * step_m(scene) + share(scene, 0.5) * across
        return {side: ToolTarget(position_m=tool + step, opening=0.0)}

    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        yield Thing(name="drawer handle", point_m=self.cabinet.handle(data), geoms=self.cabinet.handles)

    @classmethod
    def read(cls, sentence: Sentence) -> Request | None:
        if "drawer" not in sentence.words:
            return None
        opens, closes = sentence.has("open|pull|out"), sentence.has("close|shut|push in")
        if opens == closes:
            raise KinemaError(f"is the drawer to be opened or closed? {sentence.text!r} does not say")
        return Request(family=cls.name, text=sentence.text, kind="open" if opens else "close")

    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        """The handle, and where the handle will be."""
        handle = self.cabinet.handle(scene.data)
        goal = TRAVEL_M if self.opening else 0.0
        left = goal - self.cabinet.opened_m(scene.data)
        return handle, handle + left * self.cabinet.outwards(scene.data)

    def measures(self, scene: Scene) -> dict[str, float]:
        progress = self.progress
        return {
            "opened_m": self.cabinet.opened_m(scene.data),
            "fastest_m_s": progress.fastest_m_s,
            "guided_m": progress.guided_m,
        }
