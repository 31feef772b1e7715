"""The stage that teaches inverse dynamics: short films of recorded episodes and what was done in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kinema.data.batch import joined
from kinema.data.fits import card_of, open_set
from kinema.data.footage import FilmBatch, Footage, codec_of, films, footage
from kinema.model.film import inverse_artifact
from kinema.model.film.errors import reading_errors
from kinema.model.film.inverse_artifact import FilmReader
from kinema.model.film.inverse_dynamics import InverseConfig, InverseDynamics, body_vector, losses
from kinema.train import statistics
from kinema.train.record import DataPart, digest
from kinema.train.stage import MadeOf, RowStage, Setting, start_from

_JUDGED_PICTURES, _JUDGED_FILMS = 13, 40  # the length of a clip; of each set


class InverseStage(RowStage[InverseDynamics, FilmBatch]):
    """Learns from the data sets that `roots` finds below the data folder."""

    weights: Mapping[str, float] = {"state": 1.0, "change": 1.0, "actions": 1.0}

    def __init__(
        self, setting: Setting, *, roots: Callable[[Path], Sequence[Path]] = lambda data: (),
        config: InverseConfig | None = None, pictures: int = 4, episodes: int = 250,
        sources: Sequence[Footage] = (),
    ) -> None:  # fmt: skip
        """pictures: of a film; episodes: at most so many of each set; sources: learn from these instead."""
        self.config, self.pictures, self._episodes = config or InverseConfig(), pictures, episodes
        self._roots = [] if sources else list(roots(setting.data))
        self._seed, self._way = setting.seed, setting.pictures
        self.sources = sources or self._footage(held_out=False)
        start = inverse_artifact.load(setting.init) if setting.init else None
        known = start.codecs if start else {}
        self.codecs = statistics.codecs_for(self.sources, codec_of, setting.stored, known)
        for line in statistics.changes(self.sources, self.codecs, known):
            print(line, flush=True)
        self.model = InverseDynamics(self.config)
        if start is not None:
            start_from(self.model, start.model)
        sizes = np.array([len(source) for source in self.sources], np.float64)
        self._shares = sizes / sizes.sum()
        sets = [root.name for root in self._roots] or [source.card.name for source in self.sources]
        self.made_of = MadeOf(
            network=self.config.to_json(),
            data=[_part(name, source) for name, source in zip(sets, self.sources)],
            cards=[codec.card for codec in self.codecs.values()],
            assets={statistics.FILE: statistics.to_bytes(self.codecs)},
            fixed={"pictures": pictures},
        )

    def choose(self, rng: np.random.Generator, count: int, drawn: int) -> np.ndarray:
        """Source and first picture."""
        source = np.sort(rng.choice(len(self.sources), count, p=self._shares))
        return np.stack([source, rng.integers(0, np.array([len(s) for s in self.sources])[source])], 1)

    def gather(self, rows: np.ndarray) -> FilmBatch:
        starts = {i: rows[rows[:, 0] == i, 1] for i in np.unique(rows[:, 0])}
        return joined([self._films(self.sources[i], start, self.pictures) for i, start in starts.items()])

    def origin(self, rows: np.ndarray) -> list[str]:
        return [f"{self.sources[i].card.name}, picture {start} of its footage" for i, start in rows]

    def __call__(self, batch: FilmBatch, generator: torch.Generator) -> dict[str, Tensor]:
        batch = replace(batch, frames=spoil(batch.frames, generator))
        batch = batch.to(self.device)
        reading = self.model(batch.frames, batch.body)
        return losses(reading, batch.state, batch.actions, (batch.state_mask, batch.action_mask))

    def judge(self, model: InverseDynamics) -> Mapping[str, Any]:
        """By body, its errors on episodes that were left out."""
        reader = FilmReader(model=model, codecs=self.codecs, errors={}, provenance={})
        rng = np.random.default_rng(0)
        kept = (s.beginnings(_JUDGED_PICTURES, _JUDGED_FILMS, rng) for s in self._footage(held_out=True))
        return reading_errors(reader, chain.from_iterable(kept))

    def provenance(self) -> Mapping[str, Any]:
        sets = [root.parent.name for root in self._roots] or [""] * len(self.sources)
        return {
            "pictures": self.pictures,
            "data": [
                {"card": source.card.name, "pictures": len(source), "data_set": name}
                for source, name in zip(self.sources, sets)
            ],
        }

    def export(
        self, model: InverseDynamics, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        reader = FilmReader(model=model, codecs=self.codecs, errors=judged, provenance=provenance)
        example = self._films(self.sources[0], np.arange(1), 4)
        inverse_artifact.save(folder, reader, example.frames, example.body)

    def _films(self, source: Footage, starts: np.ndarray, pictures: int) -> FilmBatch:
        codec, body = self.codecs[source.card.name], body_vector(source.card, self.config)
        return films(source, codec, body, starts, pictures, views=self.config.views)

    def _footage(self, *, held_out: bool) -> list[Footage]:
        found = []
        for number, root in enumerate(self._roots):
            dataset = open_set(root)
            found.append(
                footage(
                    dataset, card_of(dataset), steps=self.config.steps, views=self.config.views,
                    image_size=self.config.image_size, held_out=held_out, episodes=self._episodes,
                    seed=self._seed + number, pictures=self._way,
                )
            )  # fmt: skip
        return found


def _part(name: str, source: Footage) -> DataPart:
    """What was done and a few of its pictures."""
    seen = digest(source.state, source.actions, source.last, source.pictures[::1000])
    return DataPart(name=name, rows=len(source), digest=seen)


def spoil(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Other light, softness and grain, the same in all pictures of a film: imagined films are not crisp."""
    B = len(frames)
    gain = 1 + 0.15 * torch.randn(B, 1, 1, 3, 1, 1, generator=generator)
    shift = 10 * torch.randn(B, 1, 1, 1, 1, 1, generator=generator)
    frames = frames.float() * gain + shift
    soft = torch.rand(B, generator=generator) < 0.4
    if soft.any():
        blurred = frames[soft].flatten(0, 2)
        blurred = functional.avg_pool2d(functional.pad(blurred, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        frames[soft] = blurred.view_as(frames[soft])
    grain = 6 * torch.rand(B, 1, 1, 1, 1, 1, generator=generator)
    # one grain for all films: drawing it for each costs as much as reading the pictures
    frames = frames + grain * torch.randn(1, *frames.shape[1:], generator=generator)
    return frames.clamp(0, 255)
