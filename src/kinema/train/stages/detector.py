"""The film detector's stage: labelled pictures under other light, blur and noise, to places of things.

Axes: B pictures, S image side, K things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kinema.data.looks import LabelledViews, read_views
from kinema.model.film.detector import DetectorConfig, FilmDetector, detector_losses
from kinema.model.film.eyes import FilmEyes, fresh_eyes
from kinema.schema import KinemaError
from kinema.train.record import DataPart, digest
from kinema.train.stage import MadeOf, RowStage, Setting, start_from

SEEN_FROM = 0.5  # probability from which a thing counts as seen
DATA_COMMAND = "kinema data make looks --episodes 60 --out data/looks"


@dataclass(frozen=True, kw_only=True)
class LookBatch:
    images: Tensor  # uint8 (B, 3, S, S)
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
        if setting.init is not None and setting.stored is None:
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
        device = next(self.model.parameters()).device
        images = worsen(batch.images, generator)
        return detector_losses(self.model(images.to(device)), batch.points.to(device))

    def judge(self, model: FilmDetector) -> Mapping[str, Any]:
        return measured_error(fresh_eyes(model, error={}, provenance={}), self._read("test"))

    def provenance(self) -> Mapping[str, Any]:
        return {"pictures": len(self.views.images), "seeds": _span(self.views.seed)}

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


def measured_error(eyes: FilmEyes, views: LabelledViews) -> dict[str, Any]:
    """What the detector gets wrong on labelled pictures: of all, and by kind of thing.

    error_px: median and 95th percentile of the distance, where a thing is seen and found; missed: share of
    the seen ones that are not found; invented: things found in a picture that shows none of them, per picture
    """
    found = eyes.locate(views.images)
    seen, unseen = views.points[..., 2] == 1, views.points[..., 2] == 0
    claimed = found[..., 2] >= SEEN_FROM
    size = views.images.shape[1]
    error_px = size * np.linalg.norm(found[..., :2] - views.points[..., :2], axis=-1)
    kinds = [_kind(name) for name in views.things]
    groups = {kind: np.array([k == kind for k in kinds]) for kind in ("all", *dict.fromkeys(kinds))}
    groups["all"][:] = True
    report: dict[str, Any] = {"pictures": len(views.images), "seeds": _span(views.seed), "by_kind": {}}
    for name, columns in groups.items():
        is_seen, is_found = seen[:, columns], claimed[:, columns]
        both = error_px[:, columns][is_seen & is_found]
        entry = {
            "seen": int(is_seen.sum()),
            "error_px": [round(float(np.percentile(both, q)), 3) for q in (50, 95)] if len(both) else None,
            "missed": round(float((is_seen & ~is_found).sum() / max(1, is_seen.sum())), 5),
            "invented": round(float((unseen[:, columns] & is_found).sum() / len(views.images)), 5),
        }
        if name == "all":
            report |= entry
        else:
            report["by_kind"][name] = entry
    return report


def _kind(name: str) -> str:
    """The noun of "red pressed button" is "pressed button"; grippers and handles are each one kind."""
    first, _, rest = name.partition(" ")
    return rest if first in ("red", "yellow", "green", "blue", "purple") else name


def _span(seeds: np.ndarray) -> list[int]:
    return [int(seeds.min()), int(seeds.max())]
