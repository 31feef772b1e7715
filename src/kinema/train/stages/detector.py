"""The film detector's stage: labelled pictures under other light, blur and noise, to places of things.

Axes: B pictures, S image side, K things.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kinema.data.looks import LabelledViews
from kinema.data.mixture import MixtureState
from kinema.model.film.detector import FilmDetector, detector_losses
from kinema.schema import KinemaError


@dataclass(frozen=True, kw_only=True)
class LookBatch:
    images: Tensor  # uint8 (B, 3, S, S)
    points: Tensor  # float32 (B, K, 3)


class LookStream:
    """Batches of labelled pictures; what is rare to be seen is drawn more often."""

    def __init__(self, views: LabelledViews, *, batch_size: int, seed: int) -> None:
        self._views, self.batch_size = views, batch_size
        self.state = MixtureState(seed=seed, drawn=0)
        self._drawn = np.zeros(0, int)
        seen = (views.points[..., 2] == 1).astype(np.float64)  # (N, K)
        rarity = 1.0 / np.sqrt(seen.sum(0).clip(1))
        weight = 0.2 * rarity.mean() + (seen * rarity).max(1)
        self._chance = weight / weight.sum()

    def draw(self) -> LookBatch:
        rng = np.random.default_rng([self.state.seed, self.state.drawn])
        self.state = MixtureState(seed=self.state.seed, drawn=self.state.drawn + 1)
        self._drawn = rows = np.sort(rng.choice(len(self._chance), self.batch_size, p=self._chance))
        images = torch.from_numpy(self._views.images[rows]).permute(0, 3, 1, 2)
        return LookBatch(images=images, points=torch.from_numpy(self._views.points[rows]))

    def origin(self) -> list[str]:
        """Which picture each row of the batch drawn last is."""
        return [f"labelled pictures, seed {self._views.seed[row]}, picture {row}" for row in self._drawn]


class Detection:
    """The objective: named losses of a batch seen as a film would show it, not as a renderer does."""

    weights: Mapping[str, float] = {"cell": 1.0, "offset": 1.0}

    def __init__(self, model: FilmDetector) -> None:
        self.model = model

    def __call__(self, batch: LookBatch, generator: torch.Generator) -> dict[str, Tensor]:
        if batch.points.shape[1] != len(self.model.config.things):
            raise KinemaError(
                f"the pictures name {batch.points.shape[1]} things, "
                f"the network {len(self.model.config.things)}"
            )
        images = worsen(batch.images, generator)
        device = next(self.model.parameters()).device
        return detector_losses(self.model(images.to(device)), batch.points.to(device))


def worsen(images: Tensor, generator: torch.Generator) -> Tensor:
    """Other light, and the blur and grain of imagined films: uint8 (B, 3, S, S) to float in 0 ... 255."""
    B, S = len(images), images.shape[-1]

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(B, 1, 1, 1, generator=generator)

    x = images.float()
    coarse = F.interpolate(
        F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False), size=S, mode="bilinear"
    )
    coarser = F.interpolate(F.avg_pool2d(x, 4), size=S, mode="bilinear")
    fine, kind = draw(0.0, 1.0).square(), draw(0.0, 1.0)
    blurred = torch.where(kind < 0.7, coarse, coarser)
    x = torch.where(kind < 0.3, x, (1 - fine) * x + fine * blurred)
    grain = torch.randn(x.shape, generator=generator) * draw(0.0, 10.0) * (draw(0.0, 1.0) < 0.5)
    return ((x + grain) * draw(0.88, 1.12) + draw(-12.0, 12.0)).clamp(0, 255)
