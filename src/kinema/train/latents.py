"""Clips as the world model learns from them: latents, and what was understood of their first pictures.

Both are computed once and kept in memory, so that training touches only the transformer and the connector.

Axes: M clips, C latent channels, T latent frames, h x w latents of one view, V views.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kinema.data.batch import Tensors
from kinema.data.clips import ClipSource, check_clips
from kinema.model.device import AskedPrecision, autocast
from kinema.model.policy.artifact import Artifact
from kinema.model.world.artifact import side_by_side_latents
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import Scene
from kinema.model.world.understanding import Understood, join, understand
from kinema.model.world.video_vae import view_by_view
from kinema.train.record import DataPart, digest

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


def by_body(card: np.ndarray) -> dict[str, np.ndarray]:
    """The clips (M,) of each body, by their numbers."""
    return {str(name): np.flatnonzero(card == name) for name in np.unique(card)}


def body_parts(what: str, card: np.ndarray, *tensors: Tensor) -> list[DataPart]:
    """What there is of each body, in a run's record."""
    return [
        DataPart(name=f"{what} of {name}", rows=len(own), digest=digest(*(tensor[own] for tensor in tensors)))
        for name, own in by_body(card).items()
    ]


def make_latents(
    vae: ChangeCode,
    policy: Artifact,
    sources: Sequence[ClipSource],
    count: Mapping[str, int],
    seed: int = 0,
    batch: int = 16,
    precision: AskedPrecision = "auto",
) -> Latents:
    """About so many clips of each body, half of them episodes' beginnings, as latents and what was understood
    of them. `count`: as in `WorldStage`"""
    check_clips(sources)
    rng = np.random.default_rng(seed)
    there = Counter[str]()
    for source in sources:
        there[source.card.name] += len(source)
    parts: list[Latents] = []
    for source in sources:
        body = source.card.name
        share = min(1.0, count.get(body, there[body]) / there[body])
        rows = _chosen(source, max(1, round(share * len(source))), rng)
        for at in tqdm(range(0, len(rows), batch), desc=f"latents of {source.name}", leave=False):
            parts.append(_latents_of(vae, policy, source, rows[at : at + batch], precision))
    return Latents(
        films=torch.cat([p.films for p in parts]),
        still=torch.cat([p.still for p in parts]),
        understood=join([p.understood for p in parts]),
        card=np.concatenate([p.card for p in parts]),
    )


def _chosen(source: ClipSource, count: int, rng: np.random.Generator) -> np.ndarray:
    """Half beginnings of episodes, half any clips, as far as there are enough of each."""
    begins = np.flatnonzero(np.diff(source.episode, prepend=-1))
    first = rng.permutation(begins)[: max(1, count // 2)]
    rest = np.setdiff1d(np.arange(len(source)), first)
    return np.concatenate([first, rng.permutation(rest)[: count - len(first)]])


@torch.no_grad()
def _latents_of(
    vae: ChangeCode, policy: Artifact, source: ClipSource, rows: np.ndarray, precision: AskedPrecision
) -> Latents:
    frames = source.frames(rows)  # (n, F, V, S, S, 3)
    n, _, V = frames.shape[:3]
    views = view_by_view(frames)
    with autocast(vae.device, precision):  # stored in half precision anyway
        films = vae.encode(views).unflatten(0, (n, V))
        still = vae.still(views[:, :, 0]).unflatten(0, (n, V))
    return Latents(
        films=films.half(),
        still=still.half(),
        understood=understand(
            policy, source.card, frames[:, 0], source.instructions(rows), source.cameras
        ).half(),
        card=np.full(n, source.card.name),
    )
