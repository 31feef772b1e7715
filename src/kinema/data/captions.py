"""Captions beside a data set: `meta/captions.jsonl`, one line an episode, replaced whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from kinema.schema import Captions, KinemaError

FILE = "meta/captions.jsonl"
LAYERS = ("goal", "action", "feedback", "comprehensive", "concise")
AXES = ("embodiment", "task", "scenario", "view")
_FLUSH_EVERY = 50  # episodes: how much of an interrupted run is done again at most


def draw_caption(captions: Captions, rng: np.random.Generator) -> str:
    """The text to train on: the comprehensive or the concise caption, with equal chance."""
    return captions.comprehensive if rng.random() < 0.5 else captions.concise


def read_captions(root: Path) -> dict[int, Captions]:
    """Captions by episode; none when the file is missing. Raises KinemaError naming a damaged line."""
    path = root / FILE
    if not path.exists():
        return {}
    found: dict[int, Captions] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            row = json.loads(line)
            episode = row.pop("episode_index")
            row.pop("source", None)
            captions = Captions(**row)
            if type(episode) is not int or not all(isinstance(text, str) for text in row.values()):
                raise TypeError("episode_index must be a whole number and the layers text")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise KinemaError(f"{path}, line {number}: not captions: {error}") from None
        if episode in found:
            raise KinemaError(f"{path}, line {number}: episode {episode} is described twice")
        found[episode] = captions
    return found


def as_lines(told: Mapping[int, Captions]) -> str:
    """The file's content for captions by episode: what `read_captions` reads."""
    return "".join(json.dumps({"episode_index": e, **asdict(told[e])}) + "\n" for e in sorted(told))


class CaptionFile:
    """Adds captions of episodes and keeps those that are there. Use `writing` to have them saved."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._told = read_captions(root)
        self._unsaved = 0

    def __contains__(self, episode: int) -> bool:
        return episode in self._told

    def add(self, episode: int, captions: Captions) -> None:
        self._told[episode] = captions
        self._unsaved += 1
        if self._unsaved >= _FLUSH_EVERY:
            self.save()

    def save(self) -> None:
        """Write all lines to a file beside and put it in the place of the old one."""
        if not self._unsaved:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".jsonl.tmp")
        with beside.open("w") as file:
            file.write(as_lines(self._told))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self._path)
        self._unsaved = 0

    @contextmanager
    def writing(self) -> Iterator[CaptionFile]:
        """Saves at the end, however it ends."""
        try:
            yield self
        finally:
            self.save()


assert (*LAYERS, *AXES) == tuple(field.name for field in fields(Captions))
