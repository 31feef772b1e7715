"""Lift a tray with both arms: it is too wide and too loose for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import mujoco
import numpy as np

from kinema.worlds.body.robots import NEVER_COLLIDES, OBJECT_COLLIDES
from kinema.worlds.tabletop.experts.motion import SECURE_N, Targets, ToolTarget, grasp_at, step_m
from kinema.worlds.tabletop.family import Episode, Family, Templates, Thing
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.sentence import Request, Sentence
from kinema.worlds.variation import COLORS, UNNAMED_COLORS

LIFTED_M = 0.08
_HALF_M, _HANDLE_M, _HANDLE_Z_M = 0.10, 0.125, 0.030
_LEVEL = 0.96  # cosine of the largest tilt, 16 degrees


class Tray:
    """A free tray with an upright handle at each end of its long (y) axis."""

    def add(self, spec: mujoco.MjSpec) -> None:
        box = mujoco.mjtGeom.mjGEOM_BOX
        body = spec.worldbody.add_body(name="tray", pos=[0, 0, 0])
        body.add_freejoint(name="tray")
        slide = {"friction": [0.4, 0.005, 0.0001], "solref": [0.008, 1.0]}
        floor = {"size": [0.06, _HALF_M, 0.005], "pos": [0, 0, 0.005]}
        body.add_geom(name="tray/floor", type=box, mass=0.12, **floor, **slide, **OBJECT_COLLIDES)
        for sign in (-1, 1):
            rims = (
                ([0.004, _HALF_M, 0.012], [sign * 0.056, 0, 0.020]),
                ([0.052, 0.004, 0.012], [0, sign * (_HALF_M - 0.004), 0.020]),
            )
            for size, pos in rims:
                body.add_geom(type=box, size=size, pos=pos, mass=0.01, **NEVER_COLLIDES)
            handle = {"pos": [0, sign * _HANDLE_M, _HANDLE_Z_M], "mass": 0.02, "condim": 4}
            name = "left" if sign > 0 else "right"
            body.add_geom(
                name=f"tray/{name}/bar",
                type=box,
                size=[0.011, 0.025, 0.024],
                **handle,
                **slide,
                **OBJECT_COLLIDES,
            )
            body.add_geom(
                name=f"tray/{name}/knob",
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                size=[0.014, 0.024, 0],
                **handle,
                **slide,
                **OBJECT_COLLIDES,
            )
        # Something on it, fixed: the tray is not empty, and it shows the tilt.
        body.add_geom(
            name="tray/load", type=box, size=[0.02, 0.02, 0.02], pos=[0, 0, 0.03], mass=0.03, **NEVER_COLLIDES
        )

    def bind(self, model: mujoco.MjModel) -> None:
        self.body = model.body("tray").id
        joint = model.joint("tray")
        self.qpos, self.dof = int(joint.qposadr[0]), int(joint.dofadr[0])
        self.geoms = np.flatnonzero(model.geom_bodyid == self.body)
        self.load = model.geom("tray/load").id
        self.bars = [model.geom(f"tray/{side}/bar").id for side in ("left", "right")]
        self.knobs = [model.geom(f"tray/{side}/knob").id for side in ("left", "right")]

    def handle(self, data: mujoco.MjData, side: str) -> np.ndarray:
        """The middle of the handle that this arm takes (3,)."""
        local = np.array([0.0, _HANDLE_M if side == "left" else -_HANDLE_M, _HANDLE_Z_M])
        return data.xpos[self.body] + data.xmat[self.body].reshape(3, 3) @ local

    def height_m(self, data: mujoco.MjData) -> float:
        return float(data.xpos[self.body][2])


class LiftTwoArms(Family):
    name = "lift_two_arms"
    limit_s = 8.0
    arms = 2
    templates: ClassVar = {
        "": Templates(
            (
                "lift the tray with both arms",
                "pick up the tray with both hands",
                "raise the tray with both arms",
            ),
            ("use both arms to lift the tray", "hold the tray with both arms and lift it up"),
        )
    }
    thing_noun = "tray"
    actions: ClassVar = {"": "lift"}
    examples = ("lift the tray with both arms",)
    seen = ("right tray handle", "left tray handle")

    def __init__(self) -> None:
        self.tray = Tray()

    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        self.tray.add(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        self.tray.bind(model)

    def reset(self, scene: Scene, episode: Episode) -> str:
        rng, model, data, tray = episode.rng, scene.model, scene.data, self.tray
        # Midway between the two arms, whatever area one arm alone works in.
        center = np.mean([handle.arm.base_pos_m for handle in scene.robot.arms], axis=0)[:2]
        offset = rng.uniform([-0.08, -0.035], [0.08, 0.035])
        if episode.variation.position:
            offset[0] = rng.choice([-1.0, 1.0]) * rng.uniform(0.09, 0.12)
        yaw = rng.uniform(-0.12, 0.12)
        data.qpos[tray.qpos : tray.qpos + 7] = [
            *(center + offset), 0.0, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2),
        ]  # fmt: skip
        data.qvel[tray.dof : tray.dof + 6] = 0.0
        palette = list(UNNAMED_COLORS if episode.variation.color else COLORS)
        body, handle, load = (episode.shade(palette[i]) for i in rng.permutation(len(palette))[:3])
        model.geom_rgba[tray.geoms, :3] = body
        model.geom_rgba[tray.load, :3] = load
        round_handles = episode.variation.instance
        for geoms, shown in ((tray.bars, not round_handles), (tray.knobs, round_handles)):
            for geom in geoms:
                model.geom_rgba[geom] = [*handle, float(shown)]
                model.geom_contype[geom], model.geom_conaffinity[geom] = (2, 3) if shown else (0, 0)
        return self.say(episode)

    def holds(self, scene: Scene) -> bool:
        """Up, level, and held at both ends."""
        level = scene.data.xmat[self.tray.body][8] > _LEVEL
        held = all(scene.pinch_n(self.tray.body, handle.side) > 0.5 for handle in scene.robot.arms)
        return bool(self.tray.height_m(scene.data) > LIFTED_M and level and held)

    def plan(self, scene: Scene) -> Targets:
        """Each arm takes its handle and waits for the other; then both rise together."""
        sides = [handle.side for handle in scene.robot.arms]
        handles = {side: self.tray.handle(scene.data, side) for side in sides}
        if not all(scene.pinch_n(self.tray.body, side) > 0.6 * SECURE_N for side in sides):
            return {side: grasp_at(scene, handles[side], side) for side in sides}
        # The lower arm leads: the tray stays level and neither arm pulls it from the other.
        height = min(scene.tool(side)[2] for side in sides) + 0.5 * step_m(scene)
        return {
            side: ToolTarget(position_m=np.array([*handles[side][:2], height]), opening=0.0) for side in sides
        }

    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        for i, side in enumerate(("left", "right")):
            shown = np.array([self.tray.bars[i], self.tray.knobs[i]])
            yield Thing(name=f"{side} tray handle", point_m=self.tray.handle(data, side), geoms=shown)

    @classmethod
    def read(cls, sentence: Sentence) -> Request | None:
        if "tray" in sentence.words and sentence.has("lift|raise|pick up"):
            return Request(family=cls.name, text=sentence.text)
        return None

    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        """The two handles: right, then left."""
        return self.tray.handle(scene.data, "right"), self.tray.handle(scene.data, "left")

    def measures(self, scene: Scene) -> dict[str, float]:
        return {"height_m": self.tray.height_m(scene.data)}
