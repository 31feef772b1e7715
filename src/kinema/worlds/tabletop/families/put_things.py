"""Put a thing of any kind into or onto another, told by kind, colour, size, place or what it is not: the wide
look's pick and place."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np

from kinema.schema import KinemaError
from kinema.worlds import wide
from kinema.worlds.tabletop.families.pick_place import PickPlace
from kinema.worlds.tabletop.family import Episode, Thing
from kinema.worlds.tabletop.layout import Footprint, scatter
from kinema.worlds.tabletop.props import Container
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.things.draw import colors_of, draw_kind, draw_look
from kinema.worlds.tabletop.things.item import Item, Look
from kinema.worlds.words import grammar
from kinema.worlds.words.grammar import Command
from kinema.worlds.words.reference import Reference

_ITEMS, _PLACES = 4, 2
_CONTAINERS = ("bowl", "plate", "tray")
_ALIKE = 0.4  # how often another thing is of the kind that is asked for, and how often of its colour
_TRIES = 300


class PutThings(PickPlace):
    def __init__(self) -> None:
        super().__init__()
        self.items = [Item(f"item{i}") for i in range(_ITEMS)]
        self.blocks = self.items

    def reset(self, scene: Scene, episode: Episode) -> str:
        """Raises KinemaError when no scene is found for what a sentence names."""
        command = episode.request.command if episode.request else None
        for _ in range(_TRIES):
            self._lay_out(scene, episode, command or Command(action=""))
            try:
                return self._told(episode, command) if command else self._tell(episode)
            except KinemaError:
                continue  # nothing tells the one thing from the others here
        raise KinemaError(f"no scene was found in which one thing is meant by {episode.request}")

    def _tell(self, episode: Episode) -> str:
        """A sentence for the first thing and the first place."""
        sights, action = self.sights(episode), self.actions[self.place.kind]
        place, held_out = len(self.free_blocks()), episode.variation.instruction
        return grammar.ask(action, sights, 0, place, episode.rng, held_out)

    def _told(self, episode: Episode, command: Command) -> str:
        """Act on what the sentence means. Raises KinemaError where that is not one of each."""
        sights, used = self.sights(episode), self.free_blocks()
        thing = (command.thing or Reference()).meant(sights, clearly=True)
        place = (command.place or Reference()).meant(sights, clearly=True) - len(used)
        if thing >= len(used) or not 0 <= place < _PLACES:
            raise KinemaError("what is meant cannot be taken, or nothing can be put there")
        self.target, self.place = self.items[thing], self._places[place]
        return ""

    def _lay_out(self, scene: Scene, episode: Episode, wanted: Command) -> None:
        rng, model, ring = episode.rng, scene.model, episode.variation.position
        count = int(rng.integers(2, _ITEMS + 1)) if min(scene.area.half) > 0.1 else 2
        looks = self._looks(scene, episode, wanted.thing or Reference(), count)
        self._places = self._containers(episode, wanted.place or Reference())
        radii = [0.08, 0.08, *(0.032 + max(look.half_m[:2]) for look in looks)]
        named = (0, _PLACES)
        spots = scatter(
            rng,
            scene.area,
            [Footprint(radius_m=radius, in_ring=ring and i in named) for i, radius in enumerate(radii)],
        )
        for group in self.containers.values():
            for container in group:
                container.park(model)
        for container, spot in zip(self._places, spots):
            container.paint(model, episode.shade(container.color))
            container.place(model, spot)
        for item, look, spot in zip(self.items, looks, spots[_PLACES:]):
            item.dress(model, look)
            yaw = scene.grip_yaw_rad + float(rng.uniform(-0.15, 0.15)) + np.pi * float(rng.integers(2))
            item.place(model, scene.data, spot, yaw)
        for item in self.items[count:]:
            item.park(model, scene.data)
        self.target, self.place = self.items[0], self._places[0]

    def _looks(self, scene: Scene, episode: Episode, asked: Reference, count: int) -> list[Look]:
        """Of the things to take: the first is asked for; others are often of its kind or of its colour."""
        rng, variation, scale = episode.rng, episode.variation, scene.block_scale
        looks = [draw_look(rng, variation, asked.kind, asked.color, scale)]
        kind, color = looks[0].kind.name, looks[0].color
        for _ in range(count - 1):
            compared = asked.pick or asked.not_color or rng.random() < _ALIKE
            other = kind if compared else draw_kind(rng, variation)
            its = asked.not_color or (color if rng.random() < _ALIKE else "")
            looks.append(draw_look(rng, variation, other, its if its in colors_of(other) else "", scale))
        if asked.near and asked.near.kind not in _CONTAINERS:
            looks[-1] = draw_look(rng, variation, asked.near.kind, asked.near.color, scale)
        return looks

    def _containers(self, episode: Episode, asked: Reference) -> list[Container]:
        """The first is where the thing goes."""
        rng, drawn = episode.rng, []
        for i, (kind, color) in enumerate(((asked.kind, asked.color), ("", ""))):
            kind = kind or _CONTAINERS[rng.integers(len(_CONTAINERS))]
            if kind not in _CONTAINERS:
                raise KinemaError(f"nothing is put into a {kind}; choices: {', '.join(_CONTAINERS)}")
            container = self.containers[kind][i]
            container.color = color or tuple(wide.COLORS)[rng.integers(len(wide.COLORS))]
            drawn.append(container)
        return drawn

    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        """What can be taken, then what it can be put in, in this episode's order."""
        yield from self.seen_blocks(data)
        for container in self._places:
            name = f"{container.color} {container.kind}"
            yield Thing(name=name, point_m=container.surface(data), geoms=container.geoms)
