"""Batches of rows that act and rows that answer, in a fixed ratio, each row a function of its number alone.

Of all samples of a run, numbered over all processes, an even share are conversations: sample s is one where
floor(s * share) steps up. So the ratio holds in every stretch of a run, whoever makes which part of it, and a
stopped run goes on with the very next sample.

Axes: n samples, S sets of conversations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.data.batch import Lesson, Replies
from kinema.data.conversations import Conversation, open_picture
from kinema.data.mixture import Mixture
from kinema.data.order import Order
from kinema.data.sample import Talk, replies, talk
from kinema.data.source import Kind
from kinema.data.stream import Drawn, Feed, Stream
from kinema.data.text import TextTokenizer
from kinema.schema import KinemaError

KIND: Kind = "vision_language"


@dataclass(frozen=True, kw_only=True)
class ConversationSet:
    """A file's conversations. weight: of their share among others', in any unit."""

    name: str
    conversations: Sequence[Conversation]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.conversations:
            raise KinemaError(f"{self.name!r} holds no conversation to train on")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise KinemaError(f"{self.name!r}: its weight must be above 0, got {self.weight}")


class Talks:
    """Conversations as samples: which one a sample is follows from the seed and its number (`order.py`)."""

    def __init__(
        self, sets: Sequence[ConversationSet], tokenizer: TextTokenizer, seed: int, *, image_size: int,
        closing: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """image_size, closing: of the network (`PolicyConfig`)"""
        self.sets, self._tokenizer, self._size, self._closing = sets, tokenizer, image_size, closing
        weights = np.array([one.weight for one in sets], np.float64)
        self._shares = weights / weights.sum()
        self._order = Order(weights, np.array([len(one.conversations) for one in sets], np.int64), seed)

    def of(self, samples: np.ndarray) -> Replies:
        """The samples with these numbers (n,), n > 0. Raises KinemaError naming set and conversation."""
        return replies([self._talk(*found) for found in self._found(samples)], self._tokenizer)

    def places(self, samples: np.ndarray) -> list[str]:
        return [f"{chosen.name}, conversation {one.id}, 0" for chosen, one in self._found(samples)]

    def drawn_of(self, rows: int) -> list[Drawn]:
        """Of each set, among the first so many samples."""
        return [
            Drawn(source=one.name, kind=KIND, card="", asked=float(share), samples=int(count))
            for one, share, count in zip(self.sets, self._shares, self._order.drawn(rows))
        ]

    def _found(self, samples: np.ndarray) -> list[tuple[ConversationSet, Conversation]]:
        of, place = self._order[samples]
        return [(self.sets[s], self.sets[s].conversations[c]) for s, c in zip(of.tolist(), place.tolist())]

    def _talk(self, chosen: ConversationSet, one: Conversation) -> Talk:
        try:
            return talk(
                [open_picture(path) for path in one.pictures],
                [(turn.question, turn.answer) for turn in one.turns],
                self._tokenizer, image_size=self._size, closing=self._closing,
            )  # fmt: skip
        except KinemaError as error:
            raise KinemaError(f"{chosen.name}, conversation {one.id}: {error}") from None


class Lessons(Stream[Lesson]):
    """Draws batches of both kinds."""

    def __init__(self, acting: Mixture, saying: Talks, feed: Feed, share: float) -> None:
        """share: of conversations in all rows. Raises KinemaError where a part would have none of a kind."""
        super().__init__(feed)
        if not 0 < share < 1:
            raise KinemaError(f"the share of conversations must lie between 0 and 1, got {share:g}")
        if min(share, 1 - share) * feed.batch_size < 1:
            raise KinemaError(
                f"of {feed.batch_size} rows at a time not one would be "
                f"{'a conversation' if share < 0.5 else 'of a body'} (share {share:.3g} of conversations); "
                f"take {math.ceil(1 / min(share, 1 - share))} or more"
            )
        self.acting, self.saying, self.share = acting, saying, share

    def batch(self, number: int) -> Lesson:
        acting, saying = self._split(self.samples(number))
        return Lesson(acting=self.acting.of(acting), saying=self.saying.of(saying), number=number)

    def origins(self, number: int) -> list[str]:
        acting, saying = self._split(self.samples(number))
        return [*self.acting.places(acting), *self.saying.places(saying)]

    def drawn(self) -> list[Drawn]:
        said = int(self._before(np.array([self.rows_drawn]))[0])
        parts = (
            (1 - self.share, self.acting.drawn_of(self.rows_drawn - said)),
            (self.share, self.saying.drawn_of(said)),
        )
        return [
            Drawn(source=d.source, kind=d.kind, card=d.card, asked=share * d.asked, samples=d.samples)
            for share, drawn in parts
            for d in drawn
        ]

    def _before(self, samples: np.ndarray) -> np.ndarray:
        """How many samples before each of these (n,) are conversations."""
        return np.floor(samples * self.share + 1e-9).astype(np.int64)

    def _split(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of samples (n,): the numbers of those that act among all that do, and of conversations alike."""
        before = self._before(samples)
        says = self._before(samples + 1) > before
        return (samples - before)[~says], before[says]
