"""A long task as a family: every step is one of the families, bound to the things of this table.

The goal is reached when every step has been done, in the sentence's order where it has one, and what can last
holds: a pressed button springs back, a block in a bowl stays there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, TypeVar

import mujoco
import numpy as np

from kinema.schema import KinemaError
from kinema.worlds.tabletop.experts.motion import Targets, retreat
from kinema.worlds.tabletop.families.button import Button, PressButton
from kinema.worlds.tabletop.families.pick_place import PickPlace
from kinema.worlds.tabletop.families.stack import Stack
from kinema.worlds.tabletop.families.tidy import BOX_HALF_M, BOX_RIM_M, Tidy
from kinema.worlds.tabletop.family import CONTAINER_RADIUS_M, Episode, Family, Thing
from kinema.worlds.tabletop.layout import Footprint
from kinema.worlds.tabletop.long.room import lay_out
from kinema.worlds.tabletop.long.tasks import (
    ANY,
    MOST_BLOCKS,
    MOST_BUTTONS,
    MOST_PLACES,
    LongTask,
    draw_task,
    step_request,
)
from kinema.worlds.tabletop.progress import Progress
from kinema.worlds.tabletop.props import Block, Container
from kinema.worlds.tabletop.scene import Scene
from kinema.worlds.tabletop.sentence import Request, Sentence

NAME = "long"
T = TypeVar("T")
_RIMS_M = {"bowl": 0.035, "plate": 0.010}
_BOX_RGB = (0.55, 0.40, 0.25)
_ROUNDING_S = 1e-9


class Pile(Stack):
    """On a block that lies on the table or on others."""

    def base_lies(self, scene: Scene) -> bool:
        return scene.supported(self.base.body)


class Long(Family):
    """wanted: the task of the next episode; None: one is drawn, of the given kind."""

    name = NAME
    limit_s = 300.0
    templates: ClassVar = {}
    actions: ClassVar = {}
    examples = ()

    def __init__(self, kind: str = "") -> None:
        self.kind, self.wanted = kind, None
        self.blocks = [Block(f"block{i}") for i in range(MOST_BLOCKS)]
        self.containers = {
            kind: [Container(f"{kind}{i}", kind, CONTAINER_RADIUS_M, rim_m) for i in range(MOST_PLACES)]
            for kind, rim_m in _RIMS_M.items()
        }
        self.box = Container("box", "tray", BOX_HALF_M, BOX_RIM_M)
        self.buttons = [Button(f"button{i}") for i in range(MOST_BUTTONS)]

    wanted: LongTask | None

    def _fixtures(self) -> list[Container | Button]:
        return [*(c for group in self.containers.values() for c in group), self.box, *self.buttons]

    def add(self, spec: mujoco.MjSpec, scene_card: str) -> None:
        for block in self.blocks:
            block.add(spec)
        for fixture in self._fixtures():
            fixture.add(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        for block in self.blocks:
            block.bind(model)
        for fixture in self._fixtures():
            fixture.bind(model)

    def reset(self, scene: Scene, episode: Episode) -> str:
        rng, model = episode.rng, scene.model
        self.task = self.wanted or draw_task(rng, self.kind or ANY[rng.integers(len(ANY))])
        task = self.task
        for fixture in self._fixtures():
            fixture.park(model)
        side = float(rng.choice([-1.0, 1.0]))
        box = Footprint(radius_m=0.115, u=(-0.6, 0.6), v=(0.5 * side - 0.1, 0.5 * side + 0.1))
        radii = [0.085] * len(task.places) + [0.06] * len(task.buttons) + [0.055] * len(task.blocks)
        prints = [box] * task.box + [Footprint(radius_m=radius_m) for radius_m in radii]
        spots = iter(lay_out(rng, scene.area, prints))
        if task.box:
            self.box.paint(model, _BOX_RGB)
            self.box.place(model, next(spots))
        free = {kind: iter(group) for kind, group in self.containers.items()}
        self.places = [next(free[kind]) for _, kind in task.places]
        for place, (color, _) in zip(self.places, task.places):
            place.color = color
            place.paint(model, episode.shade(color))
            place.place(model, next(spots))
        for button, color in zip(self.buttons, task.buttons):
            button.color = color
            button.show(model, episode.shade(color), square=False)
            button.place(model, next(spots), scene.area.yaw_rad + float(rng.uniform(-0.15, 0.15)))
        for block, color in zip(self.blocks, task.blocks):
            block.set_form(model, episode.block_shape(scene.block_scale), episode.shade(color))
            block.color = color
            yaw_rad = scene.grip_yaw_rad + float(rng.uniform(-0.15, 0.15))
            block.place(model, scene.data, next(spots), yaw_rad)
        for block in self.blocks[len(task.blocks) :]:
            block.park(model, scene.data)
        return task.text

    def begin(self) -> None:
        super().begin()
        self.steps = [self.step_of(text) for text in self.task.steps]
        self._held_s = [0.0] * len(self.steps)
        self.done = [False] * len(self.steps)
        self.told: Family | None = None
        self.told_done = False

    def tell(self, step: str) -> None:
        """What is to be done now; an expert does it and `told_holds` judges it. Raises KinemaError."""
        self.told = self.step_of(step)
        self.told.progress = Progress(carried=self.progress.carried)
        self.told_done = False

    def told_holds(self, scene: Scene) -> bool:
        """Whether what was told is done: it holds if it can last, else it has held since it was told."""
        if self.told is None:
            return False
        return self.told.holds(scene) if lasts(self.told) else self.told_done

    def step_of(self, text: str) -> Family:
        """The family that a step's sentence asks for, bound to what it names here. Raises KinemaError."""
        request = step_request(text)
        family = _BOUND[request.family](self, request)
        family.progress = self.progress
        return family

    def _block(self, color: str) -> Block:
        return _the(f"{color} block", [block for block in self.free_blocks() if block.color == color])

    def _putting(self, request: Request) -> Family:
        family, wanted = PickPlace(), (request.place, request.kind)
        fitting = [place for place in self.places if (place.color, place.kind) == wanted]
        family.target, family.place = self._block(request.thing), _the(" ".join(wanted), fitting)
        return family

    def _stacking(self, request: Request) -> Family:
        family = Pile()
        family.target, family.base = self._block(request.thing), self._block(request.place)
        return family

    def _boxing(self, request: Request) -> Family:
        family = Tidy()
        family.box, family.wanted = _the("box", [self.box] * self.task.box), self._block(request.thing).color
        family.used = self.free_blocks()
        return family

    def _pressing(self, request: Request) -> Family:
        family, buttons = PressButton(), self.buttons[: len(self.task.buttons)]
        family.target = _the(f"{request.thing} button", [b for b in buttons if b.color == request.thing])
        family.others = [button for button in buttons if button is not family.target]
        return family

    def count(self, scene: Scene, period_s: float) -> None:
        self.progress.note(scene, self.free_blocks())
        for i, step in enumerate(self.steps):
            if not self.done[i]:
                self._held_s[i] = self._held_s[i] + period_s if step.holds(scene) else 0.0
                self.done[i] = self._held_s[i] >= self.hold_s - _ROUNDING_S
                if self.task.ordered:
                    break
        if self.told is not None:
            self.told.progress.count(self.told.holds(scene), period_s)
            self.told_done |= self.told.progress.held_for(self.hold_s)
        self.progress.count(self.holds(scene), period_s)

    def holds(self, scene: Scene) -> bool:
        return all(self.done) and all(step.holds(scene) for step in self.steps if lasts(step))

    def plan(self, scene: Scene) -> Targets:
        """The expert's way to what was told; before anything was, and after it was done, it keeps away."""
        if self.told is None or (self.told_done and not lasts(self.told)):
            return {"right": retreat(scene, "right")}
        return self.told.plan(scene)

    def focus(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        return (self.told or self.steps[0]).focus(scene)

    def things(self, data: mujoco.MjData) -> Iterator[Thing]:
        yield from self.seen_blocks(data)
        for place in self.places:
            name = f"{place.color} {place.kind}"
            yield Thing(name=name, point_m=place.surface(data), geoms=place.geoms)
        if self.task.box:
            yield Thing(name="box", point_m=self.box.surface(data), geoms=self.box.geoms)
        pressing = PressButton()
        pressing.buttons = self.buttons[: len(self.task.buttons)]
        yield from pressing.things(data)

    @classmethod
    def read(cls, sentence: Sentence) -> Request | None:
        """None: what is long is read by the planner, step by step."""
        return None

    def measures(self, scene: Scene) -> dict[str, float]:
        return {"steps": float(len(self.steps)), "steps_done": float(sum(self.done))}


def lasts(step: Family) -> bool:
    """Whether what a step brings about stays: a button springs back."""
    return not isinstance(step, PressButton)


_BOUND = {
    "pick_place": Long._putting,
    "stack": Long._stacking,
    "tidy": Long._boxing,
    "button": Long._pressing,
}


def _the(name: str, found: list[T]) -> T:
    if not found:
        raise KinemaError(f"there is no {name} on this table")
    return found[0]
