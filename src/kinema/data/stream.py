"""Endless batches whose whole state is two integers: the seed, and how many have been drawn.

A batch is a function of its number, so a run that goes on draws the very batch that the stopped one would
have. Every process draws a share of it, and may take that in parts, one after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from kinema.data.loader import Loader
from kinema.schema import KinemaError

B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class StreamState:
    seed: int
    drawn: int


@dataclass(frozen=True, kw_only=True)
class Feed:
    """How batches are made. batch_size: rows of a part; parts: that a process takes its share of a batch in.

    rank, ranks: which of the processes that share every batch
    workers, pin: processes that make them ahead, and whether into memory that a GPU copies from
    """

    batch_size: int
    seed: int = 0
    rank: int = 0
    ranks: int = 1
    parts: int = 1
    workers: int = 0
    pin: bool = False


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a run has drawn of one source. asked: its share of all samples, and samples: what came of it"""

    source: str
    kind: str
    card: str
    asked: float
    samples: int


class Stream(ABC, Generic[B]):
    """Draws the batches of one process. The number of a part is its batch's, times `parts`, and its own."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.batch_size = feed, feed.batch_size
        self.state = StreamState(seed=feed.seed, drawn=0)
        self._loader = Loader(self.batch, workers=feed.workers, pin=feed.pin)

    @abstractmethod
    def batch(self, number: int) -> B:
        """The part of this number, whatever has been drawn."""

    @abstractmethod
    def origins(self, number: int) -> list[str]:
        """Where each of its rows comes from: "set, episode, frame"."""

    def drawn(self) -> Sequence[Drawn]:
        """Of each source, by all processes since the run began; empty where there are none to tell apart."""
        return ()

    def samples(self, number: int) -> np.ndarray:
        """int64 (B,): the numbers, through the whole run, of this process's samples of a part of a batch."""
        feed = self.feed
        batch, part = divmod(number, feed.parts)
        share = (batch * feed.ranks + feed.rank) * feed.parts + part
        return share * self.batch_size + np.arange(self.batch_size)

    @property
    def rows_drawn(self) -> int:
        """By all processes since the run began."""
        return self.state.drawn * self.feed.ranks * self.feed.parts * self.batch_size

    def draw(self, part: int = 0) -> B:
        """A part of the next batch; the last one ends it.

        Raises KinemaError where it cannot be read, or the state is of another seed.
        """
        if self.state.seed != self.feed.seed:
            raise KinemaError(
                f"this stream draws with seed {self.feed.seed}; it cannot go on with {self.state.seed}"
            )
        batch = self._loader.take(self.state.drawn * self.feed.parts + part)
        if part == self.feed.parts - 1:
            self.state = StreamState(seed=self.state.seed, drawn=self.state.drawn + 1)
        return batch

    def origin(self, part: int = 0) -> list[str]:
        """Where each row of this part of the batch drawn last comes from."""
        return self.origins((self.state.drawn - 1) * self.feed.parts + part)
