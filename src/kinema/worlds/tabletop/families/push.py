"""Push a named block to a named flat area, away from the robot."""

from __future__ import annotations

import mujoco
import numpy as np

from kinema.worlds.tabletop.family import Episode, Family
from kinema.worlds.tabletop.language import phrase
from kinema.worlds.tabletop.layout import Footprint, scatter
from kinema.worlds.tabletop.props import Block, Region
from kinema.worlds.tabletop.scene import Scene

REGION_RADIUS_M = 0.055
_LIES_M = 0.005  # of its lowest point from the table
_LIFTED_M = 0.015  # more than a push lets it hop


class Push(Family):
    name = "push"
    limit_s = 10.0
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
        return phrase(
            rng,
            "push",
            episode.variation.instruction,
            f"{self.target.color} block",
            f"{self.region.color} area",
        )

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

    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        return self.target.position(scene.data), self.region.position(scene.data)
