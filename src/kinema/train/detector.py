"""From labelled pictures to the film detector: stream, loop, averaged weights, measured error, artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.data.looks import LabelledViews, read_views
from kinema.model.film.detector import DetectorConfig, FilmDetector
from kinema.model.film.eyes import FilmEyes, fresh_eyes
from kinema.train.loop import Loop, LoopConfig
from kinema.train.provenance import recorded
from kinema.train.record import DataPart, digest
from kinema.train.stages.detector import Detection, LookStream

SEEN_FROM = 0.5  # probability from which a thing counts as seen


@dataclass(frozen=True, kw_only=True)
class DetectorTrainConfig:
    name: str
    batch_size: int = 64
    loop: LoopConfig
    threads: int = 1


class DetectorTraining:
    """A run that can be resumed."""

    def __init__(
        self, config: DetectorTrainConfig, folders: Sequence[Path], out: Path, *, resume: bool = False
    ) -> None:
        """resume: go on from the newest checkpoint below `out`."""
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.loop.seed)
        out.mkdir(parents=True, exist_ok=True)
        self.config, self.views = config, read_views(folders)
        self.network = DetectorConfig(things=self.views.things, image_size=self.views.images.shape[1])
        self.model = FilmDetector(self.network)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        stage = Detection(self.model)
        stream = LookStream(self.views, batch_size=config.batch_size, seed=config.loop.seed)
        seen = DataPart(
            name="labelled pictures", rows=len(self.views.images),
            digest=digest(self.views.points, self.views.seed, self.views.images[::1000]),
        )  # fmt: skip
        record = recorded(config, asdict(self.network), [seen])
        self.loop = Loop(self.model, stage, stage.weights, stream, config.loop, out, record=record)
        if resume:
            self.loop.resume()

    def trained(self) -> FilmDetector:
        """The averaged weights as a network of their own, in eval mode."""
        model = FilmDetector(self.network)
        model.load_state_dict({k: v.detach().cpu().clone() for k, v in self.loop.ema.weights.items()})
        return model.eval()


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


def export(
    model: FilmDetector, held_out: LabelledViews, folder: Path, provenance: Mapping[str, Any]
) -> FilmEyes:
    """Measure the error on held-out pictures and write the artifact."""
    eyes = fresh_eyes(model, error={}, provenance=provenance)
    eyes.error = {"held_out_true_films": measured_error(eyes, held_out)}
    eyes.save(folder, held_out.images[:1])
    return eyes
