"""The stage that teaches the small video code: a first picture, and four later ones back as they were.

Absolute and squared error, more of it where a pixel differs from the first picture: what moves is a few
pixels, and it is what everything after this looks at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from kinema.data.clips import Films
from kinema.data.mixture import MixtureState
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.video_vae import FRAMES_PER_LATENT, to_unit, view_by_view

_MOVED = 0.1  # of a pixel's range [-1, 1]: below is the video file's own noise
_MOVING_WEIGHT = 6.0


class ClipStream:
    """Batches uint8 (B, 3, 5, S, S): first pictures and four later ones on end, each view by itself."""

    def __init__(
        self, sources: Sequence[Films], *, batch_size: int, seed: int, stream: int = 0, streams: int = 1
    ) -> None:
        """stream: which of `streams` processes draws; each sees clips of its own."""
        self.sources, self.batch_size, self.stream, self.streams = sources, batch_size, stream, streams
        self.state = MixtureState(seed=seed, drawn=0)
        sizes = np.array([len(source) for source in sources], np.float64)
        self._shares = sizes / sizes.sum()
        self._drawn: list[str] = []

    def draw(self) -> Tensor:
        rng = np.random.default_rng([self.state.seed, self.state.drawn, self.stream])
        self.state = replace(self.state, drawn=self.state.drawn + 1)
        source = self.sources[int(rng.choice(len(self.sources), p=self._shares))]
        rows = rng.integers(0, len(source), max(1, self.batch_size // source.views))
        frames = source.frames(rows)
        self._drawn = [f"{source.name}, clip {row}, view {v}" for row in rows for v in range(source.views)]
        begin = 1 + FRAMES_PER_LATENT * int(rng.integers((frames.shape[1] - 1) // FRAMES_PER_LATENT))
        return view_by_view(frames[:, [0, *range(begin, begin + FRAMES_PER_LATENT)]])

    def origin(self) -> list[str]:
        """Which clip and view each row of the batch drawn last is."""
        return self._drawn


class Reconstruction:
    """Objective and loss weights of the stage."""

    def __init__(self, code: ChangeCode) -> None:
        self.code, self.weights = code, {"absolute": 1.0, "squared": 3.0}

    def __call__(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        pictures = to_unit(batch.to(self.code.device)).transpose(1, 2)  # (B, F, 3, S, S)
        first, later = pictures[:, 0], pictures[:, 1:]
        moving = ((later - first[:, None]).abs().amax(2, keepdim=True) > _MOVED).float()
        weight = 1 + (_MOVING_WEIGHT - 1) * moving
        weight = weight / weight.mean()
        wrong = (self.code.reconstruct(first, later, generator) - later).abs()
        return {"absolute": (wrong * weight).mean(), "squared": (wrong**2 * weight).mean()}


@torch.inference_mode()
def psnr_db(code: ChangeCode, batches: Iterable[Tensor], *, first_known: bool = True) -> float:
    """Peak signal-to-noise ratio of later pictures after a round trip: the mean over clips.

    first_known: whether the decoder has the first picture, or only its code
    """
    found = []
    for batch in batches:
        back = code.decode(code.encode(batch), batch[:, :, 0] if first_known else None)
        error = (back[:, :, 1:].float() - batch[:, :, 1:].float()).square().flatten(1).mean(1)
        found.append(10 * torch.log10(255.0**2 / error.clamp_min(1e-6)))
    return float(torch.cat(found).mean())
