"""Tidy up: every block on the table goes into the box, one after another."""

from __future__ import annotations

import mujoco
import numpy as np

from kinema.worlds.tabletop.family import Episode, Family
from kinema.worlds.tabletop.language import phrase
from kinema.worlds.tabletop.layout import Footprint, scatter
from kinema.worlds.tabletop.props import Block, Container
from kinema.worlds.tabletop.scene import Scene

_BLOCKS = 3
BOX_HALF_M, _RIM_M = 0.085, 0.035
_SLOT_M = 0.056  # between the row's places: a 5 cm block and room to let it go


class Tidy(Family):
    name = "tidy"
    limit_s = 22.0

    def __init__(self) -> None:
        self.blocks = [Block(f"block{i}") for i in range(_BLOCKS)]
        self.box = Container("box", "tray", BOX_HALF_M, _RIM_M)
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
        return phrase(rng, "tidy", episode.variation.instruction)

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
