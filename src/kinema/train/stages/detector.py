"""The film detector's stage: labelled pictures under other light, blur and noise, to places of things.

Axes: B pictures, S image side, K things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kinema.data.batch import Tensors
from kinema.data.looks import LabelledViews, read_views
from kinema.model.film.detector import DetectorConfig, FilmDetector, detector_losses
from kinema.model.film.errors import looking_errors
from kinema.model.film.eyes import FilmEyes, fresh_eyes
from kinema.schema import KinemaError
from kinema.train.record import DataPart, digest
from kinema.train.stage import MadeOf, RowStage, Setting, start_from

DATA_COMMAND = "kinema data make looks --episodes 60 --out data/looks"


@dataclass(frozen=True, kw_only=True)
class LookBatch(Tensors):
    images: Tensor  # uint8 (B, 3, S, S), then float32
    points: Tensor  # float32 (B, K, 3)


class DetectorStage(RowStage[FilmDetector, LookBatch]):
    """Learns from `looks/train` below the data folder and is measured on `looks/test`."""

    weights: Mapping[str, float] = {"cell": 1.0, "offset": 1.0}

    def __init__(
        self, setting: Setting, views: LabelledViews | None = None,
        network: Callable[..., DetectorConfig] = DetectorConfig,
    ) -> None:  # fmt: skip
        """views: what is learnt from, instead of what lies there. network: its sizes, from things and side"""
        self._looks = setting.data / "looks"
        self.views = views or self._read("train")
        config = network(things=self.views.things, image_size=self.views.images.shape[1])
        self.model = FilmDetector(config)
        if setting.init is not None:
            start_from(self.model, FilmEyes.load(setting.init).model)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        seen = (self.views.points[..., 2] == 1).astype(np.float64)  # (N, K)
        rarity = 1.0 / np.sqrt(seen.sum(0).clip(1))  # what is rare to be seen is drawn more often
        weight = 0.2 * rarity.mean() + (seen * rarity).max(1)
        self._chance = weight / weight.sum()
        part = DataPart(
            name="labelled pictures", rows=len(self.views.images),
            digest=digest(self.views.points, self.views.seed, self.views.images[::1000]),
        )  # fmt: skip
        self.made_of = MadeOf(network=asdict(config), data=[part])

    def choose(self, rng: np.random.Generator, count: int, drawn: int) -> np.ndarray:
        return np.sort(rng.choice(len(self._chance), count, p=self._chance))

    def gather(self, rows: np.ndarray) -> LookBatch:
        images = torch.from_numpy(self.views.images[rows]).permute(0, 3, 1, 2)
        return LookBatch(images=images, points=torch.from_numpy(self.views.points[rows]))

    def origin(self, rows: np.ndarray) -> list[str]:
        return [f"labelled pictures, seed {self.views.seed[row]}, picture {row}" for row in rows]

    def __call__(self, batch: LookBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a batch seen as a film would show it, not as a renderer does."""
        batch = replace(batch, images=worsen(batch.images, generator)).to(self.device)
        return detector_losses(self.model(batch.images), batch.points)

    def judge(self, model: FilmDetector) -> Mapping[str, Any]:
        kept, eyes = self._read("test"), fresh_eyes(model, error={}, provenance={})
        return _counted(kept) | looking_errors(eyes, kept.images, kept.points)

    def provenance(self) -> Mapping[str, Any]:
        return _counted(self.views)

    def export(
        self, model: FilmDetector, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        eyes = fresh_eyes(model, error={"held_out_true_films": judged}, provenance=provenance)
        eyes.save(folder, self.views.images[:1])

    def _read(self, part: str) -> LabelledViews:
        folders = sorted((self._looks / part).glob("*/"))
        if not folders:
            raise KinemaError(f"no labelled pictures below {self._looks / part}; make them: {DATA_COMMAND}")
        return read_views(folders)


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


def _counted(views: LabelledViews) -> dict[str, Any]:
    return {"pictures": len(views.images), "seeds": [int(views.seed.min()), int(views.seed.max())]}
