"""What every task family answers: its props, one episode's layout and sentence, its goal, its expert's plan,
its points, what can be seen of it, and what it reads in a sentence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np

from kinema.worlds import wide
from kinema.worlds.tabletop.experts.motion import Targets
from kinema.worlds.tabletop.progress import Progress
from kinema.worlds.tabletop.props import RGB, Block, Shape
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.sentence import Request, Sentence
from kinema.worlds.variation import COLORS, UNNAMED_COLORS, Variation, draw_shade
from kinema.worlds.words import grammar
from kinema.worlds.words.reference import Sight

CONTAINER_RADIUS_M = 0.06
_WIDE_HALF_M = 0.0225  # of a block of the usual size


BLOCK_NOUNS = {"block": ("block", "cube", "brick")}


@dataclass(frozen=True)
class Templates:
    """Sentences of one kind of a family, for training and held out.

    `{thing}` and `{place}` are filled with a colour and a noun, such as "red block" and "blue bowl".
    """

    seen: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A nameable thing of the scene: the point that stands for it [m], and the geoms that show it."""

    name: str
    point_m: np.ndarray
    geoms: np.ndarray
    size_m: float = 0.12  # its longest side


@dataclass(frozen=True, kw_only=True)
class Episode:
    """How one episode is drawn: the generator, the variation, and a request when a sentence was given."""

    rng: np.random.Generator
    variation: Variation
    request: Request | None = None
    scene: Scene | None = None
    about: Sequence[Sight] = ()  # what else can be seen, out of reach

    @property
    def palette(self) -> tuple[str, ...]:
        """The colours that have names."""
        return tuple(wide.COLORS if self.variation.is_wide else COLORS)

    def colors(self, named: int, total: int) -> list[str]:
        """Distinct colours; the first `named` are the ones the sentence may name."""
        wanted = [self.request.thing, self.request.place][:named] if self.request else []
        wanted += [""] * (named - len(wanted))
        free = [c for c in self.palette if c not in wanted]
        self.rng.shuffle(free)
        colors = [w or free.pop() for w in wanted]
        unnamed = self.variation.color and not self.variation.is_wide
        others = list(UNNAMED_COLORS) if unnamed else free
        self.rng.shuffle(others)
        while len(colors) < total:
            colors.append(others.pop() if others else free.pop())
        return colors

    def shade(self, color: str) -> RGB:
        if self.variation.is_wide:
            return wide.draw_shade(self.rng, color, self.variation.color)
        return draw_shade(self.rng, color, self.variation.color)

    def block_shape(self, scale: float) -> Shape:
        """A cube of 4 to 5 cm times `scale`, or a held-out form that the same grasp fits."""
        rng = self.rng
        if self.variation.is_wide:
            half = scale * _WIDE_HALF_M * wide.SIZE.draw(rng, self.variation.instance)
            return Shape(kind="box", half_m=(half, half, half))
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
    """One kind of task. Built once per model; `reset` draws an episode into the compiled model.

    `progress` is what the episode has shown so far; whoever resets or steps the world begins and counts it.
    """

    name: ClassVar[str]
    limit_s: ClassVar[float]  # an episode is given up after so long
    hold_s: ClassVar[float] = 0.5  # the goal is reached when it has held for so long without a break
    arms: ClassVar[int] = 1  # that it takes
    templates: ClassVar[Mapping[str, Templates]]  # by the kind of a request; "" where there is one kind
    examples: ClassVar[tuple[str, ...]]  # of sentences that it reads
    actions: ClassVar[Mapping[str, str]]  # what each kind of request is called in the grammar of words
    thing_noun: ClassVar[str] = "block"  # the noun of what is acted on
    place_noun: ClassVar[str] = ""  # and of where it goes
    nouns: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # what a sentence may name by a colour: words by noun
    seen_by_color: ClassVar[tuple[str, ...]] = ()  # kinds of what `things` finds, in one colour each
    seen: ClassVar[tuple[str, ...]] = ()  # and of what has no colour to its name
    blocks: Sequence[Block] = ()

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
    def plan(self, scene: Scene) -> Targets:
        """An expert's next tool target for each arm that acts, from the present state alone."""

    @abstractmethod
    def holds(self, scene: Scene) -> bool:
        """Whether the goal is satisfied at this instant, by the physical state and what led to it."""

    def begin(self) -> None:
        """A new episode: nothing has been shown."""
        self.progress = Progress()

    def glance(self, scene: Scene, piece_s: float) -> None:  # noqa: B027, most families need none
        """Take note of what a piece of a control step brought, for what comes and goes within one; and move
        on what moves by itself."""

    def count(self, scene: Scene, period_s: float) -> None:
        """Take note of the state at the end of a control step."""
        self.progress.note(scene, self.free_blocks())
        self.progress.count(self.holds(scene), period_s)

    def success(self, scene: Scene) -> bool:
        """Whether the goal holds, and has held for `hold_s`."""
        return self.progress.held_for(self.hold_s) and self.holds(scene)

    def lost(self, scene: Scene) -> bool:
        """Whether the goal can no longer be reached, so that the episode ends before its last step."""
        return False

    @abstractmethod
    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        """The thing to act on and where it goes, (3,) each [m]; equal when there is no place."""

    @abstractmethod
    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        """Everything that a sentence can name, and where it is now."""

    @classmethod
    @abstractmethod
    def read(cls, sentence: Sentence) -> Request | None:
        """What the sentence asks of this family; None where it is another's. Raises KinemaError."""

    @classmethod
    def names_things(cls) -> bool:
        """Whether its sentences name things by their colours."""
        return any("{thing}" in text for told in cls.templates.values() for text in told.seen)

    @classmethod
    def ways_to_say(cls, request: Request, block_colors: Sequence[str]) -> list[str]:
        """Sentences that ask for the same, or for a part of it. block_colors: of the scene's blocks."""
        thing, place = cls.named(request.thing, request.place, request.kind)
        return [text.format(thing=thing, place=place) for text in cls.templates[request.kind].seen]

    @classmethod
    def named(cls, thing: str, place: str, kind: str) -> tuple[str, str]:
        """What is acted on and where it goes, by their colours, in words: "red block", "blue bowl"."""
        return f"{thing} {cls.thing_noun}".strip(), f"{place} {cls.place_noun}".strip()

    def say(self, episode: Episode, kind: str = "", thing: str = "", place: str = "") -> str:
        """One of its sentences; `thing` and `place` are colours."""
        if episode.variation.is_wide:
            return self._say_widely(episode, self.actions[kind], *self.named(thing, place, kind))
        told = self.templates[kind]
        texts = told.held_out if episode.variation.instruction else told.seen
        text = texts[episode.rng.integers(len(texts))]
        thing, place = self.named(thing, place, kind)
        return text.format(thing=thing, place=place)

    def _say_widely(self, episode: Episode, action: str, thing: str, place: str) -> str:
        """A sentence of the grammar of words."""
        sights = self.sights(episode)
        numbers = {f"{sight.color} {sight.kind}".strip(): i for i, sight in enumerate(sights)}
        held_out = episode.variation.instruction
        return grammar.ask(action, sights, numbers.get(thing), numbers.get(place), episode.rng, held_out)

    def sights(self, episode: Episode) -> list[Sight]:
        """Everything to be seen that the grammar has a name for: its own things first, in their order."""
        scene = episode.scene
        assert scene is not None
        mujoco.mj_kinematics(scene.model, scene.data)
        return [*(scene.sight(t.name, t.point_m, t.size_m) for t in self.things(scene.data)), *episode.about]

    def measures(self, scene: Scene) -> dict[str, float]:
        """Named numbers about progress, for reports."""
        thing, place = self.focus(scene)
        return {"distance_m": float(np.linalg.norm(thing - place))}

    def seen_blocks(self, data: mujoco.MjData) -> Iterator[Thing]:
        for block in self.free_blocks():
            yield Thing(
                name=f"{block.color} {block.noun}",
                point_m=block.position(data),
                geoms=block.shown,
                size_m=2 * max(block.shape.half_m),
            )

    def free_blocks(self) -> list[Block]:
        """The blocks of this episode, which move."""
        return [block for block in self.blocks if not block.parked]
