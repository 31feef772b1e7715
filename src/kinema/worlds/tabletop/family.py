"""What every task family answers: its props, one episode's layout and sentence, its goal and its points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np

from kinema.worlds.tabletop.props import RGB, Block, Shape
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.variation import COLORS, UNNAMED_COLORS, Variation, draw_shade

CUBE = Shape(kind="box", half_m=(0.0225, 0.0225, 0.0225))
CONTAINER_RADIUS_M = 0.06


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a sentence asks for; empty fields are free. `text` becomes the episode's instruction."""

    family: str
    text: str
    thing: str = ""  # colour of the thing to act on
    place: str = ""  # colour of where it goes
    kind: str = ""  # "bowl" or "plate"; "open" or "close"


@dataclass(frozen=True, kw_only=True)
class Episode:
    """How one episode is drawn: the generator, the variation, and a request when a sentence was given."""

    rng: np.random.Generator
    variation: Variation
    request: Request | None = None

    def colors(self, named: int, total: int) -> list[str]:
        """Distinct colours; the first `named` are the ones the sentence may name."""
        wanted = [self.request.thing, self.request.place][:named] if self.request else []
        wanted += [""] * (named - len(wanted))
        free = [c for c in COLORS if c not in wanted]
        self.rng.shuffle(free)
        colors = [w or free.pop() for w in wanted]
        others = list(UNNAMED_COLORS) if self.variation.color else free
        self.rng.shuffle(others)
        while len(colors) < total:
            colors.append(others.pop() if others else free.pop())
        return colors

    def shade(self, color: str) -> RGB:
        return draw_shade(self.rng, color, self.variation.color)

    def block_shape(self, scale: float) -> Shape:
        """A cube of 4 to 5 cm times `scale`, or a held-out form that the same grasp fits."""
        rng = self.rng
        if not self.variation.instance:
            half = scale * float(rng.uniform(0.020, 0.025))
            return Shape(kind="box", half_m=(half, half, half))
        kind = ("cylinder", "hexagon", "long", "tall")[rng.integers(4)]
        half = scale * float(rng.uniform(0.020, 0.024))
        if kind == "long":
            return Shape(kind="box", half_m=(half * 1.5, half, half))
        if kind == "tall":
            return Shape(kind="box", half_m=(half, half, half * 1.3))
        return Shape(kind=kind, half_m=(half, half, half))


class Family(ABC):
    """One kind of task. Built once per model; `reset` draws an episode into the compiled model."""

    name: ClassVar[str]
    max_steps: ClassVar[int]

    @abstractmethod
    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        """Add the props to a specification."""

    @abstractmethod
    def bind(self, model: mujoco.MjModel) -> None:
        """Find the props in the compiled model."""

    @abstractmethod
    def reset(self, scene: Scene, episode: Episode) -> str:
        """Lay out one episode; returns the instruction."""

    @abstractmethod
    def success(self, scene: Scene) -> bool:
        """Whether the physical state satisfies the goal."""

    @abstractmethod
    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        """The thing to act on and where it goes, (3,) each [m]; equal when there is no place."""

    def measures(self, scene: Scene) -> dict[str, float]:
        """Named numbers about progress, for reports."""
        thing, place = self.focus(scene)
        return {"distance_m": float(np.linalg.norm(thing - place))}

    def free_blocks(self) -> list[Block]:
        """Blocks that move."""
        return []
