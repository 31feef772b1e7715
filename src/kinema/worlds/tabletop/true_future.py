"""The true simulator in the role of a world model: what would be seen, because it is tried and taken back.

It bounds what any learnt imagination can bring, and lets everything that is built on one be tested without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from kinema.schema import Film, KinemaError
from kinema.worlds.hazards.snapshot import restore, snapshot
from kinema.worlds.tabletop.env import DYNAMIC, TabletopEnv
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.tabletop.parse import parse_instruction
from kinema.worlds.tabletop.props import PARKED_Z_M
from kinema.worlds.tabletop.sentence import Request

_LINGER_STEPS = 2  # after success, as in demonstrations

Act = Callable[[], np.ndarray]


class TrueFuture:
    """Imagines by playing on from the environment's present state, which is afterwards as it was.

    actor: makes, for a sentence and a seed, what acts; default: the environment's expert
    outcome: what the latest imagination came to, by the task's own measures; `obeyed`, whether at its end
        what the sentence asks for held, and `success`, whether what the episode asks for did
    """

    def __init__(
        self,
        env: TabletopEnv,
        *,
        frames: int = 13,
        stride: int = 3,
        actor: Callable[[str, int], Act] | None = None,
    ) -> None:
        if frames < 2 or stride < 1:
            raise KinemaError(f"a film needs at least 2 frames and a stride of 1; got {frames} and {stride}")
        self.env, self.frames, self.stride = env, frames, stride
        expert = Expert(env)
        self._actor = actor or (lambda instruction, seed: expert.act)
        self.outcome: Mapping[str, float] = {}

    def imagine(
        self, images: Mapping[str, np.ndarray], instruction: str, card_name: str, *, seed: int = 0
    ) -> Film:
        """The film from the present state; `images` must be of the card's cameras. Raises KinemaError."""
        env = self.env
        if card_name != env.card.name:
            raise KinemaError(f"this world holds {env.card.name!r}, not {card_name!r}")
        missing = [name for name in env.card.camera_names if name not in images]
        if missing:
            raise KinemaError(f"first frames of the cameras {missing} are missing; given: {list(images)}")
        taken = snapshot(env)
        try:
            with obeying(env, instruction):
                shots = self._play(self._actor(instruction, seed))
                obeyed = env.holds()  # a film ends where it ends: what it shows last is what counts
            self.outcome = {**env.measures(), "obeyed": float(obeyed), "success": float(env.holds())}
        finally:
            restore(env, taken)
        return Film(
            frames=np.stack(shots),
            cameras=tuple(env.card.camera_names),
            fps=env.card.control_hz / self.stride,
            card=card_name,
            instruction=instruction,
        )

    def _play(self, act: Act) -> list[np.ndarray]:
        env, shots, lingered = self.env, [self._shoot()], 0
        for step in range(1, (self.frames - 1) * self.stride + 1):
            if lingered <= _LINGER_STEPS:
                env.step(act())
                lingered = lingered + 1 if env.success() else 0
            if step % self.stride == 0:
                shots.append(self._shoot() if lingered <= _LINGER_STEPS or not shots else shots[-1])
        return shots

    def _shoot(self) -> np.ndarray:
        return np.stack(list(self.env.observe().images.values()))


@contextmanager
def obeying(env: TabletopEnv, instruction: str) -> Iterator[None]:
    """Let the task ask for what the sentence says, with the things that stand in the scene; then as before.

    Raises KinemaError when the sentence belongs to another family or names what is not there.
    """
    request = parse_instruction(instruction)
    if request.family != env.family:
        raise KinemaError(f"{instruction!r} is of family {request.family!r}; this scene is of {env.family!r}")
    task: Any = env.task
    aims = _aims(env, request)
    before, sentence = {name: vars(task)[name] for name in aims}, env.instruction
    held_s, task.progress.held_s = task.progress.held_s, 0.0  # another goal has not held yet
    env.instruction = instruction
    try:
        vars(task).update(aims)
        yield
    finally:
        vars(task).update(before)
        task.progress.held_s = held_s
        env.instruction = sentence


def _aims(env: TabletopEnv, request: Request) -> dict[str, Any]:
    """The task's attributes that a request decides."""
    task: Any = env.task
    if task.name == "pick_place" or task.name in DYNAMIC:
        heights = env.scene.model.body_pos[:, 2]
        places = [c for group in task.containers.values() for c in group if heights[c.body] > PARKED_Z_M / 2]
        return {
            "target": _named(task.blocks, request.thing, task.thing_noun),
            "place": _named(places, request.place, request.kind),
        }
    if task.name == "stack":
        return {
            "target": _named(task.blocks, request.thing, "block"),
            "base": _named(task.blocks, request.place, "block"),
        }
    if task.name == "push":
        return {
            "target": _named(task.blocks, request.thing, "block"),
            "region": _named(task.regions, request.place, "area"),
        }
    if task.name == "button":
        target = _named([task.target, *task.others], request.thing, "button")
        return {
            "target": target,
            "others": [button for button in (task.target, *task.others) if button is not target],
        }
    if task.name == "drawer":
        return {"opening": request.kind == "open"}
    if task.name == "tidy":
        if request.thing:
            _named(task.used, request.thing, "block")
        return {"wanted": request.thing}
    return {}


def _named(things: list[Any], color: str, noun: str) -> Any:
    here = [thing for thing in things if not getattr(thing, "parked", False)]
    found = [thing for thing in here if thing.color == color]
    if not found:
        colors = ", ".join(sorted({thing.color for thing in here}))
        raise KinemaError(f"there is no {color} {noun} in the scene; there are: {colors}")
    return found[0]
