"""One scene to be imagined: its first frames and sentence, and what truly happens when an expert obeys it.

Axes: F frames, V views, S image side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.bench.metrics.geometry import Pinhole
from kinema.schema import Film, KinemaError

LINGER_STEPS = 2  # after success, as demonstrations have it


@dataclass(frozen=True, kw_only=True)
class Clip:
    """How a film is cut: so many frames, one every `stride` control steps; the end is held."""

    frames: int = 13
    stride: int = 3

    def __post_init__(self) -> None:
        if self.frames < 3 or self.stride < 1:
            raise KinemaError(f"a clip needs at least 3 frames and a stride of at least 1; got {self}")

    @property
    def steps(self) -> int:
        """Control steps from the first to the last frame."""
        return (self.frames - 1) * self.stride


@dataclass(frozen=True, kw_only=True)
class Scene:
    """true: the film of the expert; solved: whether it reached the goal within the clip.

    cameras: pose of every view in every frame; other: a sentence that names another thing of the same scene,
    empty where there is none
    """

    true: Film
    solved: bool
    cameras: tuple[tuple[Pinhole, ...], ...]
    other: str
    seed: int

    @property
    def images(self) -> dict[str, np.ndarray]:
        """The first frames by camera."""
        return dict(zip(self.true.cameras, self.true.frames[0]))


def play_scene(environment: Any, seed: int, clip: Clip) -> Scene:
    """Let the expert of a tabletop environment act from the scene of this seed."""
    environment.reset(seed)
    other = other_instruction(environment.task, environment.instruction)
    return _record(environment, environment.instruction, other, seed, clip)


def play_other(environment: Any, seed: int, clip: Clip) -> Scene:
    """The same scene, obeying the sentence that names another thing. KinemaError where there is none."""
    environment.reset(seed)
    text = other_instruction(environment.task, environment.instruction)
    if not text:
        raise KinemaError(f"the scene of seed {seed} has no other thing to name")
    turn_to_other(environment.task)
    return _record(environment, text, "", seed, clip)


def _record(environment: Any, instruction: str, other: str, seed: int, clip: Clip) -> Scene:
    card, shots = environment.card, []
    lingered, last = 0, None
    for step in range(clip.steps + 1):
        wanted = step % clip.stride == 0
        if last is None and (wanted or lingered == LINGER_STEPS):
            shot = _shoot(environment)
            last = shot if lingered == LINGER_STEPS else None  # demonstrations end here
        if wanted:
            shots.append(last or shot)
        if last is None and step < clip.steps:
            environment.step(environment.expert_action())
            lingered = lingered + 1 if environment.success() else 0
    film = Film(
        frames=np.stack([pictures for pictures, _ in shots]),
        cameras=tuple(card.camera_names),
        fps=card.control_hz / clip.stride,
        card=card.name,
        instruction=instruction,
    )
    return Scene(
        true=film, solved=environment.success(), cameras=tuple(p for _, p in shots), other=other, seed=seed
    )


def _shoot(environment: Any) -> tuple[np.ndarray, tuple[Pinhole, ...]]:
    pictures = environment.observe(render=True).images
    return np.stack(list(pictures.values())), camera_poses(environment)


def camera_poses(environment: Any) -> tuple[Pinhole, ...]:
    """Where each of the card's cameras truly is now."""
    model, data = environment.scene.model, environment.scene.data
    poses = []
    for name in environment.card.camera_names:
        camera = model.camera(name).id
        poses.append(
            Pinhole(
                position_m=data.cam_xpos[camera].copy(),
                rotation=data.cam_xmat[camera].reshape(3, 3).copy(),
                fovy_rad=float(np.radians(model.cam_fovy[camera])),
            )
        )
    return tuple(poses)


def other_instruction(task: Any, instruction: str) -> str:
    """The sentence with another thing named in the place of the first; empty where nothing else can be."""
    named, other = _named_and_other(task)
    if other is None:
        return ""
    noun = "button" if task.name == "button" else "block"
    old, new = f"{named.color} {noun}", f"{other.color} {noun}"
    if task.name == "stack" and other is task.base:
        return instruction.replace(old, "@").replace(new, old).replace("@", new)
    return instruction.replace(old, new)


def turn_to_other(task: Any) -> None:
    """Make the other thing the one that the expert moves and the goal asks for."""
    named, other = _named_and_other(task)
    if task.name == "stack" and other is task.base:
        task.base = named
    if task.name == "button":
        task.others = [button for button in (named, *task.others) if button is not other]
    task.target = other


def _named_and_other(task: Any) -> tuple[Any, Any]:
    """The thing that the sentence names to be moved, and another of its kind that is in the scene."""
    if task.name == "button":
        return task.target, task.others[0]
    if task.name not in ("pick_place", "stack", "push"):
        return None, None
    others = [block for block in task.blocks if block is not task.target and not block.parked]
    free = [block for block in others if block is not getattr(task, "base", None)]
    return task.target, (free or others)[0]
