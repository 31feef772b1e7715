"""The stage that teaches the small video code: a first picture, and four later ones back as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.data.clips import Films, Part, check_clips
from kinema.data.frames import Way
from kinema.model.world.artifact import load_code
from kinema.model.world.change_code import ChangeCode, losses
from kinema.model.world.errors import psnr_db
from kinema.model.world.video_vae import FRAMES_PER_LATENT, to_unit, view_by_view
from kinema.schema import KinemaError
from kinema.train.record import DataPart, digest
from kinema.train.stage import MadeOf, RowStage, Setting, start_from

_AT_ONCE = 8  # whole clips that go through the code together
_JUDGED = 48  # clips


class VideoCodeStage(RowStage[ChangeCode, Tensor]):
    """Learns from clips below the data folder. A batch is uint8 (B, 3, 5, S, S): first pictures and four
    later ones on end, each view by itself."""

    weights: Mapping[str, float] = {"absolute": 1.0, "squared": 3.0}

    def __init__(
        self, setting: Setting, *, code: Mapping[str, Any],
        clips: Callable[[Path, Part, Way], Sequence[Films]], fitted_on: int = 240,
    ) -> None:  # fmt: skip
        """code: its keys; fitted_on: clips on which components (of first pictures, of details) are found."""
        self._keys, self._fitted_on = dict(code), fitted_on
        self._clips = lambda part: clips(setting.data, part, setting.pictures)
        self.sources = self._clips("train")
        self.model = ChangeCode(**self._keys)
        if setting.stored is None:  # a checkpoint holds weights and components
            if setting.init is not None:
                start_from(self.model, load_code(setting.init))
            self.model.fit_first(to_unit(clip[:, :, 0]) for clip in _some(self.sources, fitted_on, seed=0))
        self.model.to(memory_format=torch.channels_last)
        sizes = np.array([len(source) for source in self.sources], np.float64)
        self._shares = sizes / sizes.sum()
        self.made_of = MadeOf(network=_size(self.model), data=[_part(source) for source in self.sources])

    def choose(self, rng: np.random.Generator, count: int, drawn: int) -> np.ndarray:
        """Source, clip, and the first of the four later pictures: source and picture the same in a batch."""
        number = int(rng.choice(len(self.sources), p=self._shares))
        source = self.sources[number]
        later = source.frames(np.zeros(1, int)).shape[1] - 1
        begin = 1 + FRAMES_PER_LATENT * int(rng.integers(later // FRAMES_PER_LATENT))
        clips = rng.integers(0, len(source), max(1, count // source.views))
        return np.stack([np.full_like(clips, number), clips, np.full_like(clips, begin)], 1)

    def gather(self, rows: np.ndarray) -> Tensor:
        number, _, begin = rows[0]
        frames = self.sources[number].frames(rows[:, 1])
        return view_by_view(frames[:, [0, *range(begin, begin + FRAMES_PER_LATENT)]])

    def origin(self, rows: np.ndarray) -> list[str]:
        source = self.sources[rows[0, 0]]
        return [f"{source.name}, clip {row}, view {v}" for row in rows[:, 1] for v in range(source.views)]

    def __call__(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return losses(self.model, batch.to(self.device), generator)

    def judge(self, model: ChangeCode) -> Mapping[str, Any]:
        """PSNR of clips kept back, beside the first picture and from its code alone."""
        kept = self._clips("validation")
        return {
            "psnr_db": round(psnr_of(model, kept), 2),
            "psnr_db_alone": round(psnr_of(model, kept, first_known=False), 2),
        }

    def export(
        self, model: ChangeCode, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        """The code in diffusers' format, `vae` below the folder; its details are found now."""
        model.fit_details(to_unit(clip) for clip in _some(self.sources, self._fitted_on, seed=1))
        model.save_pretrained(folder / "vae")


def finished_code(recipe: str, out: Path) -> ChangeCode:
    """The video code that the run of this recipe beside `out` made. KinemaError when there is none."""
    run = out.parent / recipe
    if not (run / "artifact" / "vae").is_dir():
        raise KinemaError(f"no video code in {run}; train it first: kinema train {recipe} --out {run}")
    return load_code(run / "artifact")


def _part(source: Films) -> DataPart:
    """A source by its length and a few of its pictures."""
    rows = np.linspace(0, len(source) - 1, min(2, len(source))).astype(int)
    return DataPart(
        name=source.name, rows=len(source), digest=digest(len(source), source.frames(rows)[:, [0, -1]])
    )


def _size(code: ChangeCode) -> dict[str, Any]:
    """What the code was built with, without what diffusers adds when it is read from a file."""
    return {name: value for name, value in code.config.items() if not name.startswith("_")}


def psnr_of(
    code: ChangeCode, sources: Sequence[Films], clips: int = _JUDGED, *, first_known: bool = True
) -> float:
    """PSNR [dB] of the later pictures of whole clips after the round trip."""
    return psnr_db(code, _some(sources, clips, seed=2), first_known=first_known)


def _some(sources: Sequence[Films], clips: int, seed: int) -> Iterator[Tensor]:
    """About so many whole clips, evenly over the sources, a few at a time."""
    check_clips(sources)
    rng = np.random.default_rng(seed)
    each = max(1, clips // len(sources))
    for source in sources:
        rows = rng.choice(len(source), min(each, len(source)), replace=False)
        for at in range(0, len(rows), _AT_ONCE):
            yield view_by_view(source.frames(rows[at : at + _AT_ONCE]))
