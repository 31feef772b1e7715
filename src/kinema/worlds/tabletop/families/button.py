"""Press a named button among others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import mujoco
import numpy as np

from kinema.worlds.body.robots import OBJECT_COLLIDES, ROBOT_GROUP
from kinema.worlds.tabletop.experts.motion import Targets, ToolTarget, funnel, shut_first, step_m
from kinema.worlds.tabletop.family import Episode, Family, Templates, Thing
from kinema.worlds.tabletop.layout import Footprint, scatter
from kinema.worlds.tabletop.props import RGB, Fixture
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.sentence import Request, Sentence

_BUTTONS = 3
TRAVEL_M = 0.014
_PRESSED_M, _UNTOUCHED_M = 0.009, 0.004
_LOOKS_PRESSED_M = 0.006  # from where on it is another thing to the eye
_CAP_TOP_M = 0.045
_TIP_ACROSS_M, _TIP_HEIGHT_M = 0.04, 0.006  # the cap's radius and half a fingertip; how far a tip leans


class Button(Fixture):
    """A grey base with a coloured cap on a spring."""

    def add(self, spec: mujoco.MjSpec) -> None:
        base = self.add_body(spec)
        base.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.042, 0.042, 0.012],
            pos=[0, 0, 0.012],
            rgba=[0.25, 0.25, 0.27, 1],
            contype=0,
            conaffinity=ROBOT_GROUP,
        )
        cap = base.add_body(name=f"{self.name}/cap", pos=[0, 0, 0.031])
        cap.add_joint(
            name=self.name,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[0, 0, 1],
            range=[-TRAVEL_M, 0],
            limited=True,
            stiffness=150.0,  # 2 N at the end of its travel
            damping=3.0,
            armature=0.02,
        )
        # Round and square caps; an episode shows one of them.
        for kind, size in (
            (mujoco.mjtGeom.mjGEOM_CYLINDER, [0.032, 0.014, 0]),
            (mujoco.mjtGeom.mjGEOM_BOX, [0.028, 0.028, 0.014]),
        ):
            cap.add_geom(type=kind, size=size, mass=0.02, **OBJECT_COLLIDES)

    def bind(self, model: mujoco.MjModel) -> None:
        super().bind(model)
        self.cap = model.body(f"{self.name}/cap").id
        self.caps = np.flatnonzero(model.geom_bodyid == self.cap)
        self.qpos = int(model.joint(self.name).qposadr[0])

    def show(self, model: mujoco.MjModel, rgb: RGB, square: bool) -> None:
        for geom, shown in zip(self.caps, (not square, square)):
            model.geom_rgba[geom] = [*rgb, float(shown)]

    def depth_m(self, data: mujoco.MjData) -> float:
        return -float(data.qpos[self.qpos])

    def top(self, data: mujoco.MjData) -> np.ndarray:
        """The middle of the cap's top when it is not pressed (3,)."""
        return data.xpos[self.body] + np.array([0.0, 0.0, _CAP_TOP_M])


class PressButton(Family):
    name = "button"
    limit_s = 6.0
    templates: ClassVar = {
        "": Templates(
            ("press the {thing}", "push the {thing}", "hit the {thing}"),
            ("please press down the {thing}", "click the {thing}"),
        )
    }
    actions: ClassVar = {"": "press"}
    examples = ("press the green button",)
    thing_noun = "button"
    nouns: ClassVar = {"button": ("button",)}
    seen_by_color = ("button", "pressed button")

    def __init__(self) -> None:
        self.buttons = [Button(f"button{i}") for i in range(_BUTTONS)]

    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        for button in self.buttons:
            button.add(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        for button in self.buttons:
            button.bind(model)

    def reset(self, scene: Scene, episode: Episode) -> str:
        rng, model = episode.rng, scene.model
        count = int(rng.integers(2, _BUTTONS + 1))
        named = Footprint(radius_m=0.06, in_ring=episode.variation.position)
        spots = scatter(rng, scene.area, [named] + [Footprint(radius_m=0.06)] * (count - 1))
        for button in self.buttons:
            button.park(model)
        for button, color, spot in zip(self.buttons, episode.colors(named=1, total=count), spots):
            button.color = color
            button.show(model, episode.shade(color), square=episode.variation.instance)
            button.place(model, spot, scene.area.yaw_rad + float(rng.uniform(-0.15, 0.15)))
        self.target, self.others = self.buttons[0], self.buttons[1:count]
        return self.say(episode, "", self.target.color)

    def holds(self, scene: Scene) -> bool:
        """A gripper's tip stands on the named button and holds it down, and no other is down. Where the tips
        end below the cap's top, or high over it, something else lies on it: a palm, an arm, a jaw's flank."""
        data = scene.data
        depth = self.target.depth_m(data)
        pressed = self.target.top(data) - np.array([0.0, 0.0, depth])
        return (
            depth > _PRESSED_M
            and scene.touched(self.target.cap)
            and scene.tip_at(pressed, _TIP_ACROSS_M, _TIP_HEIGHT_M)
            and all(button.depth_m(data) < _UNTOUCHED_M for button in self.others)
        )

    def plan(self, scene: Scene) -> Targets:
        """Shut the jaws on the way, then press down."""
        goal = self.target.top(scene.data)
        goal[2] += scene.tip_below_tool_m() - TRAVEL_M - 0.004
        goal = shut_first(scene, "right", goal)
        rise_m = scene.rise_m - 0.02
        way = funnel(scene.tool(), goal, step_m=step_m(scene), rise_m=rise_m, near_m=0.012)
        return {"right": ToolTarget(position_m=way, opening=0.0)}

    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        for button in (b for b in self.buttons if b.stands(data)):
            depth_m = button.depth_m(data)
            kind = "pressed button" if depth_m > _LOOKS_PRESSED_M else "button"
            top = button.top(data) - np.array([0.0, 0.0, depth_m])
            yield Thing(name=f"{button.color} {kind}", point_m=top, geoms=button.caps)

    @classmethod
    def read(cls, sentence: Sentence) -> Request | None:
        things = sentence.things
        if [noun for _, noun in things] != ["button"]:
            return None
        return Request(family=cls.name, text=sentence.text, thing=things[0][0])

    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        top = self.target.top(scene.data)
        return top, top

    def measures(self, scene: Scene) -> dict[str, float]:
        return {"depth_m": self.target.depth_m(scene.data)}
