"""Tidy up: every block on the table goes into the box, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import mujoco
import numpy as np

from kinema.worlds.tabletop.experts.motion import Targets, carried, carry, grasp, retreat
from kinema.worlds.tabletop.family import BLOCK_NOUNS, Episode, Family, Templates, Thing
from kinema.worlds.tabletop.layout import Footprint, scatter
from kinema.worlds.tabletop.props import Block, Container
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.sentence import Request, Sentence

_BLOCKS = 3
BOX_HALF_M, BOX_RIM_M = 0.085, 0.035
_SLOT_M = 0.056  # between the row's places: a 5 cm block and room to let it go


class Tidy(Family):
    name = "tidy"
    limit_s = 22.0
    templates: ClassVar = {
        "": Templates(
            ("tidy up the table", "put all the blocks in the box", "clean up the table"),
            ("please tidy the table up", "collect all the blocks in the box"),
        )
    }
    place_noun = "box"
    actions: ClassVar = {"": "tidy"}
    examples = ("tidy up the table", "put the green block in the box")
    nouns: ClassVar = BLOCK_NOUNS
    seen_by_color = ("block",)
    seen = ("box",)

    def __init__(self) -> None:
        self.blocks = [Block(f"block{i}") for i in range(_BLOCKS)]
        self.box = Container("box", "tray", BOX_HALF_M, BOX_RIM_M)
        self.wanted = ""  # colour of the only block that is asked for; empty: all of them

    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        for prop in self._props():
            prop.add(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        for prop in self._props():
            prop.bind(model)

    def _props(self) -> list[Block | Container]:
        return [*self.blocks, self.box]

    def reset(self, scene: Scene, episode: Episode) -> str:
        rng, model = episode.rng, scene.model
        count = int(rng.integers(2, _BLOCKS + 1))
        side = float(rng.choice([-1.0, 1.0]))
        ring = episode.variation.position
        box = Footprint(radius_m=0.115, u=(-0.6, 0.6), v=(0.5 * side - 0.1, 0.5 * side + 0.1))
        spots = scatter(rng, scene.area, [box] + [Footprint(radius_m=0.055, in_ring=ring)] * count)
        self.box.paint(model, (0.55, 0.40, 0.25) if not episode.variation.color else (0.30, 0.35, 0.40))
        self.box.place(model, spots[0])
        self.wanted = episode.request.thing if episode.request else ""
        colors = episode.colors(named=1 if self.wanted else 0, total=count)
        for block, color, spot in zip(self.blocks, colors, spots[1:]):
            block.set_form(model, episode.block_shape(scene.block_scale), episode.shade(color))
            block.color = color
            block.place(model, scene.data, spot, scene.grip_yaw_rad + float(rng.uniform(-0.15, 0.15)))
        for block in self.blocks[count:]:
            block.park(model, scene.data)
        self.used = self.blocks[:count]
        return self.say(episode)

    def inside(self, scene: Scene, block: Block) -> bool:
        """Within the walls, at most on top of another block."""
        offset = block.position(scene.data) - self.box.position(scene.data)
        return bool(np.abs(offset[:2]).max() < BOX_HALF_M - 0.008 and offset[2] < 0.085)

    def next_block(self, scene: Scene) -> Block | None:
        """The one to put away now: of those outside, the leftmost seen from the robot."""
        outside = [b for b in self._asked_for() if not self.inside(scene, b)]
        left = scene.area.turn(0.0, 1.0)
        return max(outside, key=lambda b: b.position(scene.data)[:2] @ left) if outside else None

    def _asked_for(self) -> list[Block]:
        return [b for b in self.used if self.wanted in ("", b.color)]

    def free_slot(self, scene: Scene, held: Block) -> np.ndarray:
        """A free place in the box (3,) for the held block: three in a row away from the arm."""
        center = self.box.position(scene.data)
        taken = [b.position(scene.data) for b in self.used if b is not held and self.inside(scene, b)]
        slots = [
            center + np.array([*scene.area.turn(along, 0.0), self.box.floor_m])
            for along in (-_SLOT_M, 0.0, _SLOT_M)
        ]
        for slot in slots:
            if all(np.linalg.norm(slot[:2] - other[:2]) > 0.044 for other in taken):
                return slot
        return slots[1]

    def holds(self, scene: Scene) -> bool:
        return all(
            self.inside(scene, block) and not scene.touched(block.body) for block in self._asked_for()
        ) and scene.is_still(self.used)

    def plan(self, scene: Scene) -> Targets:
        side = "right"
        for block in self.used:  # whatever is in the hand goes into the box first
            if carried(scene, block, side):
                return {side: carry(scene, block, side, self._above_slot(scene, block))}
        lying = self.next_block(scene)
        return {side: grasp(scene, lying, side) if lying else retreat(scene, side)}

    def _above_slot(self, scene: Scene, block: Block) -> np.ndarray:
        goal = self.free_slot(scene, block)
        goal[2] += max(block.half_height(scene.data), scene.tip_below_tool_m() + self.box.rim_m) + 0.008
        return goal

    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        yield from self.seen_blocks(data)
        yield Thing(name="box", point_m=self.box.surface(data), geoms=self.box.geoms)

    @classmethod
    def read(cls, sentence: Sentence) -> Request | None:
        """Of all blocks, or of one that is named."""
        named = sentence.colored
        if sentence.has("(in|into|inside) the box") and [noun for _, noun in named] == ["block"]:
            return Request(family=cls.name, text=sentence.text, thing=sentence.color(*named[0]))
        if sentence.has("tidy|clean") or sentence.has("all (the |of the )?blocks"):
            return Request(family=cls.name, text=sentence.text)
        return None

    @classmethod
    def ways_to_say(cls, request: Request, block_colors: Sequence[str]) -> list[str]:
        if request.thing:
            return [f"put the {request.thing} block in the box"]
        each = [f"put the {color} block in the box" for color in block_colors]
        return each + super().ways_to_say(request, block_colors)

    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        block = self.next_block(scene)
        box = self.box.surface(scene.data)
        return (block.position(scene.data) if block else box), box

    def measures(self, scene: Scene) -> dict[str, float]:
        return {
            **super().measures(scene),
            "inside": float(sum(self.inside(scene, b) for b in self.used)),
            "blocks": float(len(self.used)),
        }
