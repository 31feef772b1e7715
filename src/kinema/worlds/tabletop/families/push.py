"""Push a named block to a named flat area, away from the robot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import mujoco
import numpy as np

from kinema.worlds.tabletop.experts.motion import (
    Targets,
    ToolTarget,
    funnel,
    retreat,
    share,
    shut_first,
    step_m,
)
from kinema.worlds.tabletop.family import BLOCK_NOUNS, Episode, Family, Templates, Thing
from kinema.worlds.tabletop.layout import Footprint, scatter
from kinema.worlds.tabletop.props import Block, Region
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.sentence import Request, Sentence

REGION_RADIUS_M = 0.055
_LIES_M = 0.005  # of its lowest point from the table
_LIFTED_M = 0.015  # more than a push lets it hop


class Push(Family):
    name = "push"
    limit_s = 10.0
    templates: ClassVar = {
        "": Templates(
            (
                "push the {thing} to the {place}",
                "slide the {thing} to the {place}",
                "push the {thing} onto the {place}",
            ),
            ("move the {thing} to the {place} by pushing it", "shove the {thing} onto the {place}"),
        )
    }
    actions: ClassVar = {"": "push"}
    examples = ("push the blue block to the yellow area",)
    place_noun = "area"
    nouns: ClassVar = {**BLOCK_NOUNS, "area": ("area", "region", "spot", "zone")}
    seen_by_color = ("block", "area")
    inside_m = 0.040  # of the block's centre from the area's: it lies within the area but for its corners

    def __init__(self) -> None:
        self.blocks = [Block("block0"), Block("block1")]
        self.regions = [Region("region0", REGION_RADIUS_M), Region("region1", REGION_RADIUS_M)]

    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        for prop in self._props():
            prop.add(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        for prop in self._props():
            prop.bind(model)

    def _props(self) -> list[Block | Region]:
        return [*self.blocks, *self.regions]

    def reset(self, scene: Scene, episode: Episode) -> str:
        rng, model = episode.rng, scene.model
        colors = episode.colors(named=2, total=4)
        spots = self._spots(scene, episode)
        self.target, self.region = self.blocks[0], self.regions[0]
        for block, color, spot in zip(self.blocks, (colors[0], colors[2]), spots[:2]):
            block.set_form(model, episode.block_shape(scene.block_scale), episode.shade(color))
            block.color = color
            block.place(model, scene.data, spot, scene.grip_yaw_rad + float(rng.uniform(-0.15, 0.15)))
        for region, color, spot in zip(self.regions, (colors[1], colors[3]), spots[2:]):
            region.color = color
            region.paint(model, episode.shade(color))
            region.place(model, spot)
        return self.say(episode, "", self.target.color, self.region.color)

    def _spots(self, scene: Scene, episode: Episode) -> list[np.ndarray]:
        """Blocks on the near side, areas on the far side, and nothing in the named block's way."""
        ring = episode.variation.position
        footprints = [
            Footprint(radius_m=0.05, u=(-1.0, -0.3), v=(-0.9, 0.9)),
            Footprint(radius_m=0.05, u=(-1.0, 0.0)),
            Footprint(radius_m=0.06, u=(0.35, 1.0), in_ring=ring),
            Footprint(radius_m=0.06, u=(0.35, 1.0)),
        ]
        clear_m, straight, tries = 0.08, 0.7, 200  # beside the way; at most 45 degrees from straight ahead
        while True:
            for _ in range(tries):
                spots = scatter(episode.rng, scene.area, footprints)
                start, goal = spots[0], spots[2]
                along = (goal - start) / np.linalg.norm(goal - start)
                offset = spots[1] - start
                ahead = float(np.clip(offset @ along, -0.08, np.linalg.norm(goal - start)))
                clear = np.linalg.norm(offset - ahead * along) > clear_m
                if clear and along @ scene.area.turn(1.0, 0.0) > straight:
                    return spots
            clear_m, straight, tries = 0.8 * clear_m, straight - 0.1, 5  # there is a layout for every seed

    def inside(self, scene: Scene) -> bool:
        offset = self.target.position(scene.data) - self.region.position(scene.data)
        return bool(np.linalg.norm(offset[:2]) < self.inside_m)

    def holds(self, scene: Scene) -> bool:
        """It lies on the table within the area, let go, and was slid there: never lifted."""
        lies = abs(self.target.clearance_m(scene.data)) < _LIES_M
        held = any(scene.pinch_n(self.target.body, handle.side) > 0.0 for handle in scene.robot.arms)
        slid = self.progress.rise_m(self.target) < _LIFTED_M
        return self.inside(scene) and lies and slid and not held and scene.is_still([self.target])

    def plan(self, scene: Scene) -> Targets:
        """Stand behind the block with shut jaws, then push it along the line to the area, steering."""
        side = "right"
        if self.inside(scene):
            return {side: retreat(scene, side)}
        tool, block = scene.tool(side), self.target.position(scene.data)
        way = self.region.position(scene.data)[:2] - block[:2]
        left = float(np.linalg.norm(way))
        direction = way / left
        reach = self._support(scene, direction) + scene.tip_half_m(side)
        low = scene.tip_below_tool_m(side) + 0.010
        offset = tool[:2] - block[:2]
        behind = -float(offset @ direction)
        lateral = offset + behind * direction
        if tool[2] < low + 0.02 and behind > 0.6 * reach and np.linalg.norm(lateral) < 0.35 * behind:
            step = min(0.7 * step_m(scene), left + max(0.0, behind - reach))
            goal = tool[:2] + direction * step - share(scene, 0.6) * lateral
            return {side: ToolTarget(position_m=np.array([*goal, low]), opening=0.0)}
        room = 0.022 if scene.tip_half_m(side) < 0.025 else 0.012  # a broad fixed jaw needs no more
        start = block[:2] - direction * (reach + room)
        goal = shut_first(scene, side, np.array([*start, low]))
        way = funnel(tool, goal, step_m=step_m(scene), rise_m=scene.rise_m, wide_m=min(0.018, scene.funnel_m))
        return {side: ToolTarget(position_m=way, opening=0.0)}

    def _support(self, scene: Scene, direction: np.ndarray) -> float:
        """How far the block reaches from its centre along a horizontal direction."""
        axes = scene.data.xmat[self.target.body].reshape(3, 3)[:2]
        return float(np.abs(direction @ axes) @ np.array(self.target.shape.half_m))

    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        yield from self.seen_blocks(data)
        for region in self.regions:
            yield Thing(name=f"{region.color} area", point_m=region.position(data), geoms=region.geoms)

    @classmethod
    def read(cls, sentence: Sentence) -> Request | None:
        things = sentence.things
        if [noun for _, noun in things] != ["block", "area"]:
            return None
        return Request(family=cls.name, text=sentence.text, thing=things[0][0], place=things[1][0])

    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        return self.target.position(scene.data), self.region.position(scene.data)
