"""Scene2Robot: a scene's film and a film of a robot alone become the film of the robot in the scene.

Three segments: the scene without the hand, the robot alone, and what is made. The first two are given at flow
time 0 without loss, and each has a range of temporal indices of its own (`mmdit.py`).

The small code says what later pictures change about a first one, so something must stand before each film,
and it must be known before the robot is there. Before the scene and before what is made it is the scene's own
first picture; before the robot alone it is the grey that is behind it. All pictures of the performance, its
first one too, are later ones. So the decoder has the scene whole and sharp, and the code of what is made says
only what the robot hides and what moves. The scene's latents are also the still film: what would be seen if
there were no robot. The model adds the robot to it.

Nothing is handed on from one clip to the next, since all that a clip needs is given: a film of any length is
made of clips that are independent of each other, with the same noise.

Axes: B clips, F frames, C latent channels, T = (F - 1) / 4, h x w latents of the canvas, V views, S side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.model.stored import meaning_of
from kinema.model.world.artifact import (
    decode_views,
    encode_views,
    load_network,
    noise_of,
    read_about,
    save_network,
)
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import Scene, WorldConfig, WorldModel
from kinema.model.world.understanding import untold
from kinema.schema import KinemaError
from kinema.space.clip_shape import BACKGROUND, ClipShape

ABOUT = "scene2robot.json"  # beside the parts of a world model's folder, in place of world.json
FORMAT = 1
_AT_ONCE = 8  # clips


def segments(scene: Tensor, alone: Tensor, views: int) -> Scene:
    """Latents (B, C, 1 + T, h, V * w) of both given films as what the model is shown.

    What stands before the robot alone is always the same and is left out.
    """
    told = untold(len(scene), views)
    return Scene(given=(scene, alone[:, :, 1:]), still=scene[:, :, 1:], understood=told)


@dataclass(frozen=True, kw_only=True)
class Scene2Robot:
    """A trained model that can be asked. clips: how its films are cut; provenance: "clips" by body."""

    model: WorldModel
    vae: ChangeCode
    clips: ClipShape
    provenance: Mapping[str, Any]

    @torch.inference_mode()
    def compose(
        self, scene: np.ndarray, alone: np.ndarray, *, seed: int = 0, steps: int | None = None
    ) -> np.ndarray:
        """The robot in the scene, uint8 (N, V, S, S, 3), from both films of that shape, frame by frame.

        N is any number of control steps. Raises KinemaError for films of another shape or size.
        """
        self._check(scene, alone)
        made = np.empty_like(scene)
        rows = clip_steps(len(scene), self.clips)
        for begin in range(0, len(rows), _AT_ONCE):
            at = rows[begin : begin + _AT_ONCE]
            made[at] = self._clips(scene[at], alone[at], seed, steps)  # what is held beyond the end repeats
        return made

    @torch.inference_mode()
    def through_code(self, scene: np.ndarray, robot: np.ndarray) -> np.ndarray:
        """A film of a robot in this scene as the code brings it back: the most that can be made."""
        self._check(scene, robot)
        made = np.empty_like(robot)
        for at in clip_steps(len(scene), self.clips):
            made[at] = self._decoded(encode_beside(self.vae, scene[at[:1]], robot[at][None]), scene[at[:1]])
        return made

    def _clips(self, scene: np.ndarray, alone: np.ndarray, seed: int, steps: int | None) -> np.ndarray:
        """Whole clips (B, F - 1, V, S, S, 3) at once."""
        grey = np.full_like(alone[:, 0], BACKGROUND)
        shown = segments(
            encode_beside(self.vae, scene[:, 0], scene), encode_beside(self.vae, grey, alone), scene.shape[2]
        )
        noise = noise_of(shown.still.shape[1:], seed).expand_as(shown.still)
        made = self.model.sample(shown, noise, steps=steps)
        return self._decoded(torch.cat([shown.given[0][:, :, :1], made], 2), scene[:, 0])

    def _decoded(self, latents: Tensor, beside: np.ndarray) -> np.ndarray:
        return decode_views(self.vae, latents, beside)[:, 1:]

    def _check(self, scene: np.ndarray, other: np.ndarray) -> None:
        size = self.clips.size
        if scene.shape != other.shape or scene.ndim != 5 or scene.shape[2:] != (size, size, 3):
            raise KinemaError(
                f"films to compose are (N, V, {size}, {size}, 3); got {scene.shape} and {other.shape}"
            )


def encode_beside(code: ChangeCode, beside: np.ndarray, film: np.ndarray) -> Tensor:
    """Latents (B, C, 1 + T, h, V * w) of films (B, F - 1, V, S, S, 3) after pictures (B, V, S, S, 3)."""
    return encode_views(code, np.concatenate([beside[:, None], film], 1))


def clip_steps(count: int, clips: ClipShape) -> np.ndarray:
    """int64 (B, F - 1): clips that hold every one of so many control steps; the last step is held."""
    frames, every = clips.frames - 1, clips.every
    begins = [begin + first for begin in range(0, count, frames * every) for first in range(every)]
    return np.minimum(np.array(begins)[:, None] + every * np.arange(frames), count - 1)


def save(folder: Path, scene2robot: Scene2Robot, example: Scene) -> None:
    """Write an artifact in a world model's format, without a policy. `example`: one clip."""
    save_network(folder, scene2robot.model, scene2robot.vae, example)
    about = {
        "format": FORMAT,
        "world": scene2robot.model.config.to_json(),
        "clips": asdict(scene2robot.clips),
        "provenance": dict(scene2robot.provenance),
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n")


def load(folder: Path, *, check: bool = True) -> Scene2Robot:
    """Read an artifact and, with `check`, prove it on its example. KinemaError names file and fault."""
    about = read_about(folder / ABOUT, FORMAT)
    with meaning_of(folder / ABOUT):
        config, clips = WorldConfig.from_json(about["world"]), ClipShape(**about["clips"])
        provenance = about["provenance"]
    model, vae = load_network(folder, config, check=check)
    return Scene2Robot(model=model, vae=vae, clips=clips, provenance=provenance)
