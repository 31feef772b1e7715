"""Stack a named block on another named block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import mujoco
import numpy as np

from kinema.worlds.tabletop.experts.motion import Targets, pick_and_place
from kinema.worlds.tabletop.family import BLOCK_NOUNS, Episode, Family, Templates, Thing
from kinema.worlds.tabletop.layout import Footprint, scatter
from kinema.worlds.tabletop.props import Block
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.sentence import Request, Sentence

_BLOCKS = 3
_LIES_M = 0.005  # of the lower block's lowest point from the table


class Stack(Family):
    name = "stack"
    limit_s = 10.0
    templates: ClassVar = {
        "": Templates(
            (
                "stack the {thing} on the {place}",
                "put the {thing} on top of the {place}",
                "place the {thing} on the {place}",
            ),
            ("pile the {thing} onto the {place}", "the {thing} goes on top of the {place}"),
        )
    }
    actions: ClassVar = {"": "stack"}
    examples = ("stack the purple block on the red block",)
    place_noun = "block"
    nouns: ClassVar = BLOCK_NOUNS
    seen_by_color = ("block",)

    def __init__(self) -> None:
        self.blocks = [Block(f"block{i}") for i in range(_BLOCKS)]

    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        for block in self.blocks:
            block.add(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        for block in self.blocks:
            block.bind(model)

    def reset(self, scene: Scene, episode: Episode) -> str:
        rng, model = episode.rng, scene.model
        count = int(rng.integers(2, _BLOCKS + 1))
        ring = episode.variation.position
        named = [Footprint(radius_m=0.06, in_ring=ring)] * 2
        spots = scatter(rng, scene.area, named + [Footprint(radius_m=0.06)] * (count - 2))
        self.target, self.base = self.blocks[:2]
        for block, color, spot in zip(self.blocks, episode.colors(named=2, total=count), spots):
            block.set_form(model, episode.block_shape(scene.block_scale), episode.shade(color))
            block.color = color
            block.place(model, scene.data, spot, scene.grip_yaw_rad + float(rng.uniform(-0.15, 0.15)))
        for block in self.blocks[count:]:
            block.park(model, scene.data)
        return self.say(episode, "", self.target.color, self.base.color)

    def goal(self, scene: Scene) -> np.ndarray:
        """Where the target's centre belongs (3,)."""
        height = self.target.half_height(scene.data) + self.base.half_height(scene.data)
        return self.base.position(scene.data) + np.array([0.0, 0.0, height])

    def over(self, scene: Scene) -> bool:
        """Let go here, the block comes to rest on the other."""
        offset = self.target.position(scene.data) - self.goal(scene)
        return bool(np.linalg.norm(offset[:2]) < 0.018 and -0.006 < offset[2] < 0.015)

    def base_lies(self, scene: Scene) -> bool:
        return abs(self.base.clearance_m(scene.data)) < _LIES_M

    def holds(self, scene: Scene) -> bool:
        """The one rests on the other, which lies on the table; both are let go."""
        offset = self.target.position(scene.data) - self.goal(scene)
        return (
            bool(np.linalg.norm(offset[:2]) < 0.022 and abs(offset[2]) < 0.008)
            and self.target.name in self.progress.carried
            and self.target.upright(scene.data)
            and self.base_lies(scene)
            and not scene.touched(self.target.body)
            and scene.is_still([self.target, self.base])
        )

    def plan(self, scene: Scene) -> Targets:
        goal = self.goal(scene) + np.array([0.0, 0.0, 0.003])
        return {"right": pick_and_place(scene, self.target, "right", goal, self.over(scene))}

    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        yield from self.seen_blocks(data)

    @classmethod
    def read(cls, sentence: Sentence) -> Request | None:
        things = sentence.things
        if [noun for _, noun in things] != ["block", "block"]:
            return None
        return Request(family=cls.name, text=sentence.text, thing=things[0][0], place=things[1][0])

    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        return self.target.position(scene.data), self.base.position(scene.data)
