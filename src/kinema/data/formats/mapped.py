"""A source under the names that are asked for: columns renamed, or joined of several (`columns` of a map).

Who says which columns are the card's state or action says their order, too: where the format names none of
their channels and there are as many as the card has, they are the card's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.data.formats.source import Episode, Series, Source, vector
from kinema.data.index import mapped_features
from kinema.data.metadata import ACTION, EXECUTED, PICTURES, STATE, Features, width_of
from kinema.schema import KinemaError


class Mapped:
    """columns: the source's own names by those asked for."""

    def __init__(
        self, source: Source, columns: Mapping[str, tuple[str, ...]], card: EmbodimentCard, task: str = ""
    ) -> None:
        """task: the instruction of episodes that have none"""
        self._source, self._columns, self._task = source, dict(columns), task
        for name, sources in columns.items():
            for own in sources:
                if own not in source.features or source.features[own]["dtype"] in PICTURES:
                    numbers = [n for n, f in source.features.items() if f["dtype"] not in PICTURES]
                    raise KinemaError(
                        f"{source.root} has no column {own!r}, which {name!r} needs; it has {numbers}"
                    )
        self.features: Features = {
            **mapped_features(source.features, self._columns),
            **_in_order(source.features, columns, card),
        }

    @property
    def root(self) -> Path:
        return self._source.root

    @property
    def robot_type(self) -> str | None:
        return self._source.robot_type

    @property
    def cameras(self) -> Mapping[str, str]:
        return self._source.cameras

    @property
    def rate_hz(self) -> float | None:
        return self._source.rate_hz

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int) -> MappedEpisode:
        return MappedEpisode(self._source[number], self._columns, self._task)


def _in_order(
    features: Features, columns: Mapping[str, tuple[str, ...]], card: EmbodimentCard
) -> dict[str, dict[str, Any]]:
    """The features of state and action whose channels have no names but the card's."""
    named = {}
    for name, channels in ((STATE, card.states), (ACTION, card.actions), (EXECUTED, card.actions)):
        sources = columns.get(name, ())
        unnamed = all(
            list(features[own].get("names") or ()) == vector(width_of(features[own]), (), own)["names"]
            for own in sources
        )
        if sources and unnamed and sum(width_of(features[own]) for own in sources) == len(channels):
            named[name] = vector(len(channels), [channel.name for channel in channels])
    return named


class MappedEpisode:
    def __init__(self, episode: Episode, columns: Mapping[str, tuple[str, ...]], task: str) -> None:
        self._episode, self._columns = episode, columns
        self.name, self.task = episode.name, episode.task or task

    def column(self, name: str) -> Series:
        first, *others = [self._episode.column(own) for own in self._columns.get(name, (name,))]
        if not others:
            return first
        parts = [first.values, *(_at(first.times_s, other) for other in others)]
        return Series(times_s=first.times_s, values=np.concatenate(parts, axis=1))

    def frame_times(self, camera: str) -> np.ndarray:
        return self._episode.frame_times(camera)

    def frames(self, camera: str, indices: np.ndarray) -> np.ndarray:
        return self._episode.frames(camera, indices)


def _at(times_s: np.ndarray, series: Series) -> np.ndarray:
    """A column at the times of another, between two of its rows where need be."""
    if len(series.times_s) == len(times_s) and (series.times_s == times_s).all():
        return series.values
    return np.stack([np.interp(times_s, series.times_s, column) for column in series.values.T], axis=1)
