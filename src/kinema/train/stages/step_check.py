"""The success check's stage: what the frozen film detector finds in looks at long tasks, to done or not.

Axes: P questions, B of a batch, F features of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kinema.data.batch import Tensors
from kinema.data.steps import NONE, StepLooks, read_steps
from kinema.model.film.eyes import FilmEyes
from kinema.model.film.step_check import StepCheckConfig, StepCheckNet, features_of
from kinema.model.film.success import save_check
from kinema.schema import KinemaError
from kinema.train.record import DataPart, digest
from kinema.train.stage import MadeOf, RowStage, Setting

DATA_COMMAND = "kinema data make steps --episodes 60 --out data/steps"
LIMIT = 0.5  # chosen before anything was measured: where the net finds both equally likely
Interval = Callable[[int, int], tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class StepBatch(Tensors):
    features: Tensor  # float32 (B, F)
    done: Tensor  # float32 (B,)


class StepCheckStage(RowStage[StepCheckNet, StepBatch]):
    """Learns from `steps/train` below the data folder and is measured on `steps/test`."""

    weights: Mapping[str, float] = {"done": 1.0}

    def __init__(self, setting: Setting, detector: Path, interval: Interval) -> None:
        """detector: the artifact beneath; interval: of a rate, from how often and of how many."""
        if setting.init is not None:
            raise KinemaError("the success check is trained from random weights; leave out --init")
        self._folder, self._interval = setting.data / "steps", interval
        self.eyes = FilmEyes.load(detector)
        self.looks = read_steps(self._folder / "train")
        self._features = features_in(self.eyes, self.looks, self._folder / "train")
        self._done = self.looks.done.astype(np.float32)
        if not 0 < self._done.sum() < len(self._done):
            raise KinemaError(f"{self._folder / 'train'} shows nothing done, or nothing undone")
        config = StepCheckConfig(features=self._features.shape[1])
        self.model = StepCheckNet(config)
        self.model.normalise_by(torch.from_numpy(self._features))
        share = self._done.mean()
        chance = np.where(self._done > 0, 0.5 / share, 0.5 / (1 - share))  # as often done as not
        self._chance = chance / chance.sum()
        part = DataPart(
            name="looks at long tasks", rows=len(self._done),
            digest=digest(self.looks.state, self.looks.look, self.looks.thing, self.looks.done),
        )  # fmt: skip
        self.made_of = MadeOf(
            network=config.to_json(), data=[part], fixed={"detector": self.eyes.version, "limit": LIMIT}
        )

    def choose(self, rng: np.random.Generator, count: int, drawn: int) -> np.ndarray:
        return rng.choice(len(self._chance), count, p=self._chance)

    def gather(self, rows: np.ndarray) -> StepBatch:
        return StepBatch(
            features=torch.from_numpy(self._features[rows]), done=torch.from_numpy(self._done[rows])
        )

    def origin(self, rows: np.ndarray) -> list[str]:
        return [f"looks at long tasks, seed {self.looks.seed[self.looks.look[row]]}" for row in rows]

    def __call__(self, batch: StepBatch, generator: torch.Generator) -> dict[str, Tensor]:
        batch = batch.to(self.device)
        return {"done": F.binary_cross_entropy_with_logits(self.model(batch.features), batch.done)}

    def judge(self, model: StepCheckNet) -> Mapping[str, Any]:
        """Its errors on scenes that were not learnt from; no number of them chose anything."""
        kept = read_steps(self._folder / "test")
        with torch.inference_mode():
            features = torch.from_numpy(features_in(self.eyes, kept, self._folder / "test")).to(self.device)
            found = (model(features).sigmoid() >= LIMIT).cpu().numpy()
        return errors_of(found, kept, self._interval)

    def provenance(self) -> Mapping[str, Any]:
        return _counted(self.looks)

    def export(
        self, model: StepCheckNet, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        about = {
            "card": self.looks.card,
            "cameras": list(self.looks.cameras),
            "detector": self.eyes.version,
            "limit": LIMIT,
            "error": {"held_out_scenes": dict(judged)},
            "provenance": dict(provenance),
        }
        save_check(model.cpu(), folder, about, self._features[:16])


def features_in(eyes: FilmEyes, looks: StepLooks, folder: Path) -> np.ndarray:
    """float32 (P, F) of all questions. Raises KinemaError for looks of other things than the detector's."""
    if looks.things != eyes.things:
        raise KinemaError("the looks at long tasks name other things than the film detector; make them again")
    points, names = points_in(eyes, looks, folder), [*looks.things, ""]  # the last one is NONE
    return np.stack(
        [
            features_of(eyes, points[look], looks.state[look], names[thing], names[place])
            for look, thing, place in zip(looks.look, looks.thing, looks.place)
        ]
    )


def points_in(eyes: FilmEyes, looks: StepLooks, folder: Path) -> np.ndarray:
    """What the frozen detector finds, (N, V, K, 3), computed once and kept beside the looks."""
    path = folder / f"points_{eyes.version}_{digest(looks.state, looks.seed)[:12]}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    count, views = looks.images.shape[:2]
    found = eyes.locate(looks.images.reshape(count * views, *looks.images.shape[2:]))
    points = found.reshape(count, views, *found.shape[1:])
    np.save(path, points)
    return points


def errors_of(found: np.ndarray, looks: StepLooks, interval: Interval) -> dict[str, Any]:
    """False alarms and misses, with 95 % intervals: of all, by kind, and with the body back where it began.

    found: bool (P,) what was taken for done
    """
    kinds = np.array([_kind(looks, row) for row in range(len(found))])
    back = looks.back[looks.look]
    pressed = kinds == "button"
    groups: dict[str, np.ndarray] = {"all": np.ones(len(found), bool), "back at the start": back & ~pressed}
    groups |= {kind: kinds == kind for kind in sorted(set(kinds))}
    report: dict[str, Any] = {**_counted(looks)}
    for name, rows in groups.items():
        report[name] = {
            "false_positives": _rate(found[rows & ~looks.done], interval),
            "false_negatives": _rate(~found[rows & looks.done], interval),
        }
    return report


def _rate(wrong: np.ndarray, interval: Interval) -> dict[str, Any]:
    count, of = int(wrong.sum()), len(wrong)
    low, high = interval(count, of)
    return {"count": count, "of": of, "rate": round(count / of, 4) if of else None,
            "ci95": [round(low, 4), round(high, 4)]}  # fmt: skip


def _kind(looks: StepLooks, row: int) -> str:
    place = looks.place[row]
    return looks.things[looks.thing[row] if place == NONE else place].split()[-1]


def _counted(looks: StepLooks) -> dict[str, Any]:
    return {
        "episodes": len(np.unique(looks.seed)), "looks": len(looks.images), "questions": len(looks.done),
        "seeds": [int(looks.seed.min()), int(looks.seed.max())],
    }  # fmt: skip
