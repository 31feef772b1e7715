"""Put a named block into a named bowl or onto a named plate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import mujoco
import numpy as np

from kinema.worlds.tabletop.experts.motion import Targets, pick_and_place
from kinema.worlds.tabletop.family import BLOCK_NOUNS, CONTAINER_RADIUS_M, Episode, Family, Templates, Thing
from kinema.worlds.tabletop.layout import Footprint, scatter
from kinema.worlds.tabletop.props import Block, Container
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.sentence import Request, Sentence

_BLOCKS, _PLACES = 3, 2


class PickPlace(Family):
    name = "pick_place"
    limit_s = 10.0
    templates: ClassVar = {
        "bowl": Templates(
            (
                "put the {thing} in the {place}",
                "place the {thing} in the {place}",
                "pick up the {thing} and put it in the {place}",
                "move the {thing} into the {place}",
            ),
            (
                "the {thing} goes in the {place}",
                "please drop the {thing} into the {place}",
                "take the {thing} and place it inside the {place}",
            ),
        ),
        "plate": Templates(
            (
                "put the {thing} on the {place}",
                "place the {thing} on the {place}",
                "pick up the {thing} and put it on the {place}",
                "move the {thing} onto the {place}",
            ),
            (
                "the {thing} goes on the {place}",
                "please set the {thing} on the {place}",
                "take the {thing} and place it onto the {place}",
            ),
        ),
    }
    actions: ClassVar = {"bowl": "put in", "plate": "put on", "tray": "put in"}
    examples: ClassVar[tuple[str, ...]] = (
        "put the red block in the blue bowl",
        "place the yellow block on the green plate",
    )
    nouns: ClassVar = {**BLOCK_NOUNS, "bowl": ("bowl",), "plate": ("plate", "dish")}
    seen_by_color = ("block", "bowl", "plate")

    def __init__(self) -> None:
        self.blocks = [Block(f"block{i}") for i in range(_BLOCKS)]
        self.containers = {
            kind: [Container(f"{kind}{i}", kind, radius, rim) for i in range(_PLACES)]
            for kind, radius, rim in (
                ("bowl", CONTAINER_RADIUS_M, 0.035),
                ("plate", CONTAINER_RADIUS_M, 0.010),
                ("tray", 0.052, 0.030),
                ("saucer", 0.050, 0.014),
            )
        }

    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        for block in self.blocks:
            block.add(spec)
        for kind, containers in self.containers.items():
            for container in containers:
                container.kind = {"saucer": "plate"}.get(kind, kind)
                container.add(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        for block in self.blocks:
            block.bind(model)
        for container in (c for group in self.containers.values() for c in group):
            container.bind(model)

    def reset(self, scene: Scene, episode: Episode) -> str:
        rng, model = episode.rng, scene.model
        blocks = int(rng.integers(2, _BLOCKS + 1)) if min(scene.area.half) > 0.1 else 2
        colors = episode.colors(named=2, total=blocks + _PLACES)
        wanted = episode.request.kind if episode.request else ""
        kinds = [wanted or ("bowl", "plate")[rng.integers(2)], ("bowl", "plate")[rng.integers(2)]]
        ring = episode.variation.position
        spots = scatter(
            rng,
            scene.area,
            [
                Footprint(radius_m=0.08, in_ring=ring),
                Footprint(radius_m=0.055, in_ring=ring),
                Footprint(radius_m=0.08),
            ]
            + [Footprint(radius_m=0.055)] * (blocks - 1),
        )
        self.target, self.place = self.blocks[0], self._container(kinds[0], 0, episode)
        for group in self.containers.values():
            for container in group:
                container.park(model)
        for block, color, spot in zip(self.blocks, [colors[0], *colors[3:]], [spots[1], *spots[3:]]):
            block.set_form(model, episode.block_shape(scene.block_scale), episode.shade(color))
            block.color = color
            block.place(model, scene.data, spot, scene.grip_yaw_rad + float(rng.uniform(-0.15, 0.15)))
        for block in self.blocks[blocks:]:
            block.park(model, scene.data)
        other = self._container(kinds[1], 1, episode)
        for container, color, spot in ((self.place, colors[1], spots[0]), (other, colors[2], spots[2])):
            container.color = color
            container.paint(model, episode.shade(color))
            container.place(model, spot)
        return self.say(episode, kinds[0], self.target.color, self.place.color)

    def _container(self, kind: str, i: int, episode: Episode) -> Container:
        if episode.variation.instance:
            kind = {"bowl": "tray", "plate": "saucer"}[kind]
        return self.containers[kind][i]

    def placed(self, scene: Scene) -> bool:
        """The block's centre is within the container and low."""
        offset = self.target.position(scene.data) - self.place.position(scene.data)
        height = self.place.floor_m + 1.6 * self.target.half_height(scene.data) + 0.006
        return bool(np.linalg.norm(offset[:2]) < self.place.radius_m - 0.008 and offset[2] < height)

    def over(self, scene: Scene) -> bool:
        """Let go here, the block falls into place."""
        offset = self.target.position(scene.data) - self.place.position(scene.data)
        height = self.place.rim_m + 2.0 * self.target.half_height(scene.data) + 0.02
        return bool(np.linalg.norm(offset[:2]) < self.place.radius_m - 0.012 and offset[2] < height)

    def holds(self, scene: Scene) -> bool:
        """It rests in its place, let go, and was carried there: what is only pushed was not picked up."""
        carried = self.target.name in self.progress.carried
        rests = not scene.touched(self.target.body) and scene.is_still([self.target])
        return carried and rests and self.placed(scene)

    def goal(self, scene: Scene) -> np.ndarray:
        """Where to bring the block's centre before it is let go (3,)."""
        place, half_height = self.place, self.target.half_height(scene.data)
        goal = place.position(scene.data)
        # Over a bowl the finger tips stay above the rim, and the block drops the last two centimetres.
        tips = scene.tip_below_tool_m() + place.rim_m + 0.008 if place.kind != "plate" else 0.0
        goal[2] = max(place.floor_m + half_height + 0.004, tips)
        return goal

    def plan(self, scene: Scene) -> Targets:
        goal, placed = self.goal(scene), self.over(scene)
        return {"right": pick_and_place(scene, self.target, "right", goal, placed)}

    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        yield from self.seen_blocks(data)
        for container in (c for group in self.containers.values() for c in group if c.stands(data)):
            name = f"{container.color} {container.kind}"
            yield Thing(name=name, point_m=container.surface(data), geoms=container.geoms)

    @classmethod
    def named(cls, thing: str, place: str, kind: str) -> tuple[str, str]:
        return f"{thing} {cls.thing_noun}", f"{place} {kind}"

    @classmethod
    def read(cls, sentence: Sentence) -> Request | None:
        things = sentence.things
        if [noun for _, noun in things] not in (["block", "bowl"], ["block", "plate"]):
            return None
        (thing, _), (place, kind) = things
        return Request(family=cls.name, text=sentence.text, thing=thing, place=place, kind=kind)

    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        return self.target.position(scene.data), self.place.surface(scene.data)
