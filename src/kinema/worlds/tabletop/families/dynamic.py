"""Catch a named thing that moves, and put it in a named bowl: off a belt, rolling, or sliding.

The thing crosses the work area once, at a speed and in a direction that the seed decides. What leaves the
area before any gripper has touched it is lost, and the episode is over. Episodes measure DOMINO's score.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np

from kinema.worlds.tabletop.experts.motion import Targets, carried, carry, catch, retreat
from kinema.worlds.tabletop.families.pick_place import PickPlace
from kinema.worlds.tabletop.family import BLOCK_NOUNS, Episode, Templates
from kinema.worlds.tabletop.layout import Footprint, scatter
from kinema.worlds.tabletop.manipulation_score import manipulation_score, route_completion
from kinema.worlds.tabletop.movers import BELT_TOP_M, Ball, Belt
from kinema.worlds.tabletop.progress import Progress
from kinema.worlds.tabletop.props import Block, Container
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.sentence import Request, Sentence

_LANE_U = 0.5  # where the lane crosses the middle of the area; the bowls stand on the other side
_BOWLS_U = (0.5, 1.0)
_TILT_RAD = 0.2  # of the lane, from straight across
_BEFORE_M, _BEYOND_M = 0.02, 0.06  # of the area: where the thing begins, and where it is lost
_APART_M = 0.13  # one thing on the lane from the other
_SLIPPERY = 1e-4  # friction between a thing that slides and the table


@dataclass
class Chase(Progress):
    """What has become of the thing that moves."""

    touched: frozenset[str] = frozenset()  # names of the things and bowls that a gripper has touched
    lost_at_m: tuple[float, ...] = ()  # where the thing left the area untouched


class Dynamic(PickPlace):
    """What the three have in common: a lane, two things on it, two bowls beside it."""

    actions: ClassVar = {"bowl": "put in", "tray": "put in"}
    moving: ClassVar[str]  # a pattern of the words that tell its sentences from others'
    speeds_m_s: ClassVar[tuple[float, float]]
    floor_m: ClassVar[float] = 0.0  # the height of what the thing moves on

    def __init__(self) -> None:
        super().__init__()
        self.blocks = self._movers()

    def _movers(self) -> list[Block]:
        return [Block("block0"), Block("block1")]

    @abstractmethod
    def set_off(self, scene: Scene, thing: Block, velocity_m_s: np.ndarray) -> None:
        """Let a thing that stands on the lane move at this velocity (2,)."""

    def reset(self, scene: Scene, episode: Episode) -> str:
        rng, model = episode.rng, scene.model
        colors = episode.colors(named=2, total=4)
        side = float(rng.choice([-1.0, 1.0]))
        self._place_bowls(scene, episode, side, colors[1::2])
        way = rng.choice([-1.0, 1.0])
        tilt = float(rng.uniform(-_TILT_RAD, _TILT_RAD))
        along = scene.area.turn(np.sin(tilt), way * np.cos(tilt))
        self.middle = scene.area.at(side * _LANE_U, 0.0)
        start = self.middle - along * (scene.area.half[1] + _BEFORE_M) / np.cos(tilt)
        velocity = along * float(rng.uniform(*self.speeds_m_s))
        behind = float(rng.choice([-1.0, 1.0])) * _APART_M
        self.target = self.blocks[0]
        for thing, color, at in zip(self.blocks, colors[::2], (start, start - behind * along)):
            thing.set_form(model, episode.block_shape(scene.block_scale), episode.shade(color))
            thing.color = color
            yaw = scene.grip_yaw_rad + float(rng.uniform(-0.15, 0.15))
            thing.place(model, scene.data, at, yaw, self.floor_m)
            self.set_off(scene, thing, velocity)
        mujoco.mj_kinematics(model, scene.data)
        self.first_tools_m = _tools(scene)
        kind = self.place.kind if episode.variation.is_wide else "bowl"  # the plain look has no trays by name
        return self.say(episode, kind, self.target.color, self.place.color)

    def _place_bowls(self, scene: Scene, episode: Episode, side: float, colors: Sequence[str]) -> None:
        """Across the lane from the middle of the area, the named one first."""
        near, far = sorted(-side * u for u in _BOWLS_U)
        bowl = Footprint(radius_m=0.08, u=(near, far))
        named = Footprint(radius_m=0.08, u=(near, far), in_ring=episode.variation.position)
        for container in (c for group in self.containers.values() for c in group):
            container.park(scene.model)
        bowls = [self._container("bowl", i, episode) for i in range(2)]
        for container, color, spot in zip(bowls, colors, scatter(episode.rng, scene.area, [named, bowl])):
            container.color = color
            container.paint(scene.model, episode.shade(color))
            container.place(scene.model, spot)
        self.place, self.other = bowls

    def begin(self) -> None:
        self.progress: Chase = Chase()

    def count(self, scene: Scene, period_s: float) -> None:
        super().count(scene, period_s)
        chase = self.progress
        things: list[Block | Container] = [*self.free_blocks(), self.place, self.other]
        chase.touched |= {thing.name for thing in things if scene.touched(thing.body)}
        if not chase.lost_at_m and self.target.name not in chase.touched and not self._in_bounds(scene):
            chase.lost_at_m = tuple(self.target.position(scene.data))

    def _in_bounds(self, scene: Scene) -> bool:
        area = scene.area
        offset = self.target.position(scene.data)[:2] - area.center
        u, v = (abs(float(offset @ area.turn(*axis))) for axis in ((1.0, 0.0), (0.0, 1.0)))
        return u <= area.half[0] + _BEYOND_M and v <= area.half[1] + _BEYOND_M

    def lost(self, scene: Scene) -> bool:
        return bool(self.progress.lost_at_m)

    def plan(self, scene: Scene) -> Targets:
        side, thing = "right", self.target
        held = carried(scene, thing, side)
        if held:
            return {side: carry(scene, thing, side, self.goal(scene))}
        if self.over(scene):
            return {side: retreat(scene, side, thing)}
        return {side: catch(scene, thing, side, self.floor_m)}

    def measures(self, scene: Scene) -> dict[str, float]:
        """With DOMINO's score, its route completion, and what it was fined for."""
        chase, data = self.progress, scene.data
        lost = self.lost(scene)
        last = np.array(chase.lost_at_m) if lost else self.target.position(data)
        clutter = {self.other.name, *(block.name for block in self.free_blocks()[1:])}
        touched = len(clutter & chase.touched)
        route = route_completion(self.success(scene), self.first_tools_m, _tools(scene), last)
        return {
            **super().measures(scene),
            "manipulation_score": manipulation_score(route, out_of_bounds=lost, clutter_touched=touched),
            "route_completion": route,
            "out_of_bounds": float(lost),
            "clutter_touched": float(touched),
        }

    @classmethod
    def read(cls, sentence: Sentence) -> Request | None:
        if not sentence.has(cls.moving):
            return None
        things = sentence.things
        if [noun for _, noun in things] != [cls.thing_noun, "bowl"]:
            return None
        (thing, _), (place, kind) = things
        return Request(family=cls.name, text=sentence.text, thing=thing, place=place, kind=kind)


class FromBelt(Dynamic):
    """Off a belt that carries it."""

    name = "dynamic_belt"
    moving = "belt|conveyor"
    speeds_m_s = (0.05, 0.12)
    floor_m = BELT_TOP_M
    templates: ClassVar = {
        "bowl": Templates(
            (
                "take the {thing} off the belt and put it in the {place}",
                "pick up the {thing} from the moving belt and place it in the {place}",
                "put the {thing} on the belt in the {place}",
            ),
            (
                "before the {thing} leaves the conveyor, drop it into the {place}",
                "the {thing} on the conveyor goes in the {place}",
            ),
        )
    }
    examples: ClassVar = ("take the red block off the belt and put it in the blue bowl",)
    nouns: ClassVar = {**BLOCK_NOUNS, "bowl": ("bowl",)}

    def __init__(self) -> None:
        super().__init__()
        self.belt = Belt("belt")

    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        super().add(spec, scene_card)
        self.belt.add(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        super().bind(model)
        self.belt.bind(model)

    def set_off(self, scene: Scene, thing: Block, velocity_m_s: np.ndarray) -> None:
        yaw = float(np.arctan2(velocity_m_s[1], velocity_m_s[0]))
        self.belt.place(scene.model, self.middle, yaw)
        self.belt.run(scene.data, float(np.linalg.norm(velocity_m_s)))
        scene.data.qvel[thing.dof : thing.dof + 2] = velocity_m_s

    def glance(self, scene: Scene, piece_s: float) -> None:
        self.belt.move_on(scene.data)


class Rolling(Dynamic):
    """A ball that rolls by."""

    name = "dynamic_roll"
    moving = "rolling|rolls"
    speeds_m_s = (0.06, 0.15)
    thing_noun = "ball"
    templates: ClassVar = {
        "bowl": Templates(
            (
                "catch the rolling {thing} and put it in the {place}",
                "pick up the rolling {thing} and place it in the {place}",
                "put the rolling {thing} in the {place}",
            ),
            (
                "the {thing} that rolls by goes in the {place}",
                "stop the rolling {thing} and drop it into the {place}",
            ),
        )
    }
    examples: ClassVar = ("catch the rolling red ball and put it in the blue bowl",)
    nouns: ClassVar = {"ball": ("ball",), "bowl": ("bowl",)}

    def _movers(self) -> list[Block]:
        return [Ball("ball0"), Ball("ball1")]

    def set_off(self, scene: Scene, thing: Block, velocity_m_s: np.ndarray) -> None:
        assert isinstance(thing, Ball)
        thing.roll(scene.data, velocity_m_s)


class Sliding(Dynamic):
    """A block that was pushed and slides as on ice."""

    name = "dynamic_slide"
    moving = "sliding|slides"
    speeds_m_s = (0.06, 0.15)
    templates: ClassVar = {
        "bowl": Templates(
            (
                "catch the sliding {thing} and put it in the {place}",
                "pick up the sliding {thing} and place it in the {place}",
                "put the sliding {thing} in the {place}",
            ),
            (
                "the {thing} that slides by goes in the {place}",
                "stop the sliding {thing} and drop it into the {place}",
            ),
        )
    }
    examples: ClassVar = ("catch the sliding red block and put it in the blue bowl",)
    nouns: ClassVar = {**BLOCK_NOUNS, "bowl": ("bowl",)}

    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        super().add(spec, scene_card)
        for block in self.blocks:
            for i in range(3):
                spec.add_pair(
                    geomname1="table",
                    geomname2=f"{block.name}/{i}",
                    condim=3,
                    friction=[_SLIPPERY, _SLIPPERY, 0.005, 0.0001, 0.0001],
                    solref=[0.008, 1.0],
                )

    def set_off(self, scene: Scene, thing: Block, velocity_m_s: np.ndarray) -> None:
        scene.data.qvel[thing.dof : thing.dof + 2] = velocity_m_s


def _tools(scene: Scene) -> list[np.ndarray]:
    return [scene.tool(handle.side) for handle in scene.robot.arms]
