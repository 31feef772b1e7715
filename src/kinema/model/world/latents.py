"""Clips as world models learn from them: latents, and what was understood of their first pictures.

Both are computed once and kept in memory, so that training touches only the transformer and the connector.

Axes: M clips, C latent channels, T latent frames, h x w latents of one view, V views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kinema.card.card import EmbodimentCard
from kinema.data.batch import Tensors
from kinema.model.device import AskedPrecision, autocast
from kinema.model.policy.artifact import Artifact
from kinema.model.world.artifact import side_by_side_latents
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import Scene
from kinema.model.world.scene2robot import segments
from kinema.model.world.understanding import Understood, join, understand
from kinema.model.world.video_vae import view_by_view
from kinema.schema import KinemaError

Task = Literal["image", "video", "image_to_video"]
Views = Literal["first", "last", "all"]


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Clips as the world model learns from them, in half precision.

    films (M, V, C, T, h, w); still (M, V, C, h, w): a later latent of the first picture held; card (M,)
    """

    films: Tensor
    still: Tensor
    understood: Understood
    card: np.ndarray

    def __len__(self) -> int:
        return len(self.films)


@dataclass(frozen=True, kw_only=True)
class WorldBatch(Tensors):
    """A scene and the latents (B, C, T, h, w) that belong to it."""

    scene: Scene
    wanted: Tensor

    def __len__(self) -> int:
        return len(self.wanted)


def batch_of(latents: Latents, rows: Tensor, task: Task, views: Views) -> WorldBatch:
    """The clips with these numbers, as this task sees them."""
    V = latents.films.shape[1]
    chosen = {"first": (0, 1), "last": (V - 1, V), "all": (0, V)}[views]
    films = side_by_side_latents(latents.films[rows, slice(*chosen)].float())
    understood = latents.understood.rows(rows).views(*chosen)
    if task == "image_to_video":
        rest = films.shape[2] - 1
        still = side_by_side_latents(latents.still[rows, slice(*chosen)].float()[:, :, :, None])
        scene = Scene(given=(films[:, :, :1],), still=still.repeat(1, 1, rest, 1, 1), understood=understood)
        return WorldBatch(scene=scene, wanted=films[:, :, 1:])
    wanted = films[:, :, :1] if task == "image" else films
    # without a first picture nothing may be told of it but what the words say
    scene = Scene(given=(), still=torch.zeros_like(wanted), understood=understood.unseen())
    return WorldBatch(scene=scene, wanted=wanted)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Clips in half precision: scene, alone, robot (M, C, 1 + T, h, V * w) and card (M,).

    The first latent of each is of the picture that its code is read beside (`model/world/scene2robot.py`).
    """

    scene: Tensor
    alone: Tensor
    robot: Tensor
    card: np.ndarray
    views: int

    def __post_init__(self) -> None:
        if not self.scene.shape == self.alone.shape == self.robot.shape or len(self.card) != len(self.scene):
            raise KinemaError(
                f"pairs need latents of one shape; got scene {tuple(self.scene.shape)}, alone "
                f"{tuple(self.alone.shape)}, robot {tuple(self.robot.shape)}, {len(self.card)} bodies"
            )

    def __len__(self) -> int:
        return len(self.scene)


def pair_batch(pairs: Pairs, rows: Tensor) -> WorldBatch:
    """The clips with these numbers: what is shown, and what is to be made."""
    scene, alone, robot = (part[rows].float() for part in (pairs.scene, pairs.alone, pairs.robot))
    return WorldBatch(scene=segments(scene, alone, pairs.views), wanted=robot[:, :, 1:])


def by_body(card: np.ndarray) -> dict[str, np.ndarray]:
    """The clips (M,) of each body, by their numbers."""
    return {str(name): np.flatnonzero(card == name) for name in np.unique(card)}


@torch.no_grad()
def latents_of(
    vae: ChangeCode, policy: Artifact, card: EmbodimentCard, frames: np.ndarray,
    instructions: Sequence[str], cameras: Sequence[str], precision: AskedPrecision,
) -> Latents:  # fmt: skip
    """Clips uint8 (n, F, V, S, S, 3) of these cameras of a body, a sentence each."""
    n, _, V = frames.shape[:3]
    views = view_by_view(frames)
    with autocast(vae.device, precision):  # stored in half precision anyway
        films = vae.encode(views).unflatten(0, (n, V))
        still = vae.still(views[:, :, 0]).unflatten(0, (n, V))
    return Latents(
        films=films.half(),
        still=still.half(),
        understood=understand(policy, card, frames[:, 0], instructions, cameras).half(),
        card=np.full(n, card.name),
    )


def join_latents(parts: Sequence[Latents]) -> Latents:
    """All clips, one part after the other."""
    return Latents(
        films=torch.cat([p.films for p in parts]),
        still=torch.cat([p.still for p in parts]),
        understood=join([p.understood for p in parts]),
        card=np.concatenate([p.card for p in parts]),
    )
