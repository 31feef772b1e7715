"""Clips through a frozen code and a frozen reader, once, before the first step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor
from tqdm import tqdm

from kinema.data.clips import ClipSource, check_clips
from kinema.model.device import AskedPrecision
from kinema.model.policy.artifact import Artifact
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.latents import Latents, by_body, join_latents, latents_of
from kinema.train.record import DataPart, digest


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
            now = rows[at : at + batch]
            told = source.instructions(now), source.cameras
            parts.append(latents_of(vae, policy, source.card, source.frames(now), *told, precision))
    return join_latents(parts)


def _chosen(source: ClipSource, count: int, rng: np.random.Generator) -> np.ndarray:
    """Half beginnings of episodes, half any clips, as far as there are enough of each."""
    begins = np.flatnonzero(np.diff(source.episode, prepend=-1))
    first = rng.permutation(begins)[: max(1, count // 2)]
    rest = np.setdiff1d(np.arange(len(source)), first)
    return np.concatenate([first, rng.permutation(rest)[: count - len(first)]])
