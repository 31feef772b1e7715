"""The stage that teaches the video code: clips and single pictures of all bodies, back as they were.

Absolute and squared error, more of it where a pixel differs from the clip's first picture: what moves is a
few pixels, and it is what everything after this looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from kinema.data.clips import ClipSource
from kinema.data.mixture import MixtureState
from kinema.model.video_vae import VideoVae, to_unit

_MOVED = 0.1  # of a pixel's range [-1, 1]: below is the video file's own noise
_MOVING_WEIGHT = 4.0
_SQUARED_WEIGHT = 4.0


class ClipStream:
    """Batches uint8 (B, 3, F', S, S) of beginnings of clips, each view by itself; F' differs by batch."""

    def __init__(
        self, sources: Sequence[ClipSource], *, batch_size: int, seed: int, lengths: Sequence[int] = (5, 5, 9)
    ) -> None:
        self.sources, self.batch_size, self.lengths = sources, batch_size, lengths
        self.state = MixtureState(seed=seed, drawn=0)
        sizes = np.array([len(source) for source in sources], np.float64)
        self._shares = sizes / sizes.sum()

    def draw(self) -> Tensor:
        rng = np.random.default_rng([self.state.seed, self.state.drawn])
        self.state = replace(self.state, drawn=self.state.drawn + 1)
        length = int(rng.choice(self.lengths))
        source = self.sources[int(rng.choice(len(self.sources), p=self._shares))]
        # a longer clip costs as much as two short ones: batches cost about the same
        count = max(1, self.batch_size * min(self.lengths) // length)
        frames = source.frames(rng.integers(0, len(source), count))[:, :length]
        return view_by_view(frames)


def view_by_view(frames: np.ndarray) -> Tensor:
    """Clips uint8 (n, F, V, S, S, 3) as (n * V, 3, F, S, S)."""
    return torch.from_numpy(frames).permute(0, 2, 5, 1, 3, 4).flatten(0, 1)


class Reconstruction:
    """Objective and loss weights of the stage."""

    def __init__(self, vae: VideoVae, *, kl_weight: float = 1e-4) -> None:
        self.vae = vae
        self.weights = {"absolute": 1.0, "squared": _SQUARED_WEIGHT, "kl": kl_weight}

    def __call__(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        wanted = to_unit(batch)
        got, kl = self.vae.reconstruct(batch, generator)
        moving = ((wanted - wanted[:, :, :1]).abs().amax(1, keepdim=True) > _MOVED).float()
        weight = 1 + (_MOVING_WEIGHT - 1) * moving
        weight = weight / weight.mean()
        wrong = (got - wanted).abs()
        return {"absolute": (wrong * weight).mean(), "squared": (wrong**2 * weight).mean(), "kl": kl}


@torch.inference_mode()
def psnr_db(vae: VideoVae, batches: Sequence[Tensor]) -> float:
    """Peak signal-to-noise ratio of clips after a round trip: the mean of the clips' own."""
    found = []
    for batch in batches:
        error = (vae.decode(vae.encode(batch)).float() - batch.float()).square().flatten(1).mean(1)
        found.append(10 * torch.log10(255.0**2 / error.clamp_min(1e-6)))
    return float(torch.cat(found).mean())


@torch.inference_mode()
def measure_statistics(vae: VideoVae, batches: Sequence[Tensor]) -> None:
    """Mean and spread of each latent channel over clips, into the code's configuration.

    The spread is the standard deviation; with the shortcut, whose channels differ a hundredfold in what they
    add to a picture, its geometric mean with the average one, so that the small ones stay small.
    """
    channels = vae.channels
    vae.set_statistics(torch.zeros(channels), torch.ones(channels))
    latents = torch.cat([vae.encode(batch).transpose(0, 1).flatten(1) for batch in batches], 1)
    std = latents.std(1).clamp_min(1e-3)
    vae.set_statistics(latents.mean(1), (std * std.square().mean().sqrt()).sqrt() if vae.basis else std)
