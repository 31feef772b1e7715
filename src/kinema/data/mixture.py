"""An endless, resumable stream of batches drawn from several sources.

Batch `number` of all processes together holds the samples from `number * size` on; each process makes its
share of them. A sample is a function of the seed and its own number alone (`data/order.py`), chance included:
it is the same whatever the number of processes, of workers and of rows that share its batch.

Where asked, half of the rows see pictures from some steps before and the pose that the actions carried out
since have led to, as a policy does whose answers come late.

A share of the rows is told the name of another body. Such a row teaches one thing: the slots of the body
that is seen, but not named, stay quiet. Without it the pictures alone would say which body moves, and the
prompt would decide nothing.

Axes: B batch, H steps, K slots, V views, P points, n rows of one source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kinema.card.card import EmbodimentCard
from kinema.card.prompt import asked_steps
from kinema.data import sample
from kinema.data.batch import Batch
from kinema.data.order import Order, uniform
from kinema.data.source import Source
from kinema.data.stream import Drawn, Feed, Stream
from kinema.data.text import TextTokenizer
from kinema.schema import KinemaError
from kinema.space.codec import Codec
from kinema.space.foreseen import Foreseen

_POINTS = 2
_LATE, _IS_LATE, _MISNAMED, _IS_MISNAMED = range(10, 14)  # chances of a sample, each of its own


class Mixture(Stream[Batch]):
    """Draws batches; `codecs` holds one codec per card name."""

    def __init__(
        self, sources: Sequence[Source], codecs: Mapping[str, Codec], tokenizer: TextTokenizer, feed: Feed, *,
        horizon: int, misnamed: float = 0.0, late_steps: int = 0, tasks_alike: bool = False,
    ) -> None:  # fmt: skip
        """misnamed: share of rows told another body's name, if there are more

        tasks_alike: whether every task of a source is seen as often as any other of its tasks

        late_steps: most steps that the pictures of a row may be older than its pose
        """
        super().__init__(feed)
        self.misnamed, self.late_steps = misnamed, late_steps
        self.sources, self.codecs, self.tokenizer = sources, codecs, tokenizer
        self.horizon = horizon
        self._groups = [g for i, source in enumerate(sources) for g in _groups(i, source, tasks_alike)]
        self._source_of = np.array([group.source for group in self._groups], np.int64)
        weights = np.array([group.weight for group in self._groups], np.float64)
        counts = np.array([group.count for group in self._groups], np.int64)
        self._order, self._seed = Order(weights, counts, feed.seed), feed.seed
        self._cards = {source.card.name: source.card for source in sources}
        self._foreseen = {name: Foreseen(card) for name, card in self._cards.items()}
        # token ids by source, then by the card that is named, then by task
        self._tokens = [
            {
                name: [_told(tokenizer, source, task, card, horizon) for task in source.tasks]
                for name, card in self._cards.items()
            }
            for source in sources
        ]

    def batch(self, number: int) -> Batch:
        """The part of this number, whatever has been drawn; rows in the order of their samples."""
        return self.of(self.samples(number))

    def of(self, samples: np.ndarray) -> Batch:
        """The samples with these numbers (n,), n > 0."""
        of, window = self._windows(samples)
        parts, order = [], []
        for i in np.unique(of).tolist():
            rows = np.flatnonzero(of == i)
            order.append(rows)
            parts.append(self._rows(i, self.sources[i].starts[window[rows]], samples[rows]))
        return _joined(parts, np.argsort(np.concatenate(order)), self.tokenizer)

    def origins(self, number: int) -> list[str]:
        """Where each of its rows comes from: data set, episode and frame."""
        return self.places(self.samples(number))

    def places(self, samples: np.ndarray) -> list[str]:
        """Where the samples with these numbers (n,) come from."""
        of, window = self._windows(samples)
        return [
            self.sources[i].place(int(self.sources[i].starts[np.array([w])][0]), self.horizon)
            for i, w in zip(of.tolist(), window.tolist())
        ]

    def drawn(self) -> list[Drawn]:
        return self.drawn_of(self.rows_drawn)

    def drawn_of(self, rows: int) -> list[Drawn]:
        """Of each source, among the first so many samples."""
        total = sum(source.weight for source in self.sources)
        by_source = np.zeros(len(self.sources), np.int64)
        np.add.at(by_source, self._source_of, self._order.drawn(rows))
        return [
            Drawn(
                source=source.name, kind=source.kind, card=source.card.name, asked=source.weight / total,
                samples=int(count),
            )
            for source, count in zip(self.sources, by_source)
        ]  # fmt: skip

    def _windows(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The source, and the window among its starts, of samples (n,)."""
        of, place = self._order[samples]
        source = self._source_of[of]
        for i in np.unique(of).tolist():
            if (chosen := self._groups[i].windows) is not None:
                place[of == i] = chosen[place[of == i]]
        return source, place

    def _rows(self, source_index: int, starts: np.ndarray, samples: np.ndarray) -> _Part:
        """Windows (n,) of one source, as the samples with these numbers (n,)."""
        source = self.sources[source_index]
        codec = self.codecs[source.card.name]
        named = self._names(source.card.name, samples)
        told_right = np.array([name == source.card.name for name in named])
        chunk, valid = source.windows(starts, self.horizon)
        valid = valid & (np.arange(self.horizon) < asked_steps(source.card, self.horizon))
        seen, pictured, state = self._late(source, starts, samples)
        beyond = (codec.beyond(chunk, state) > 1e-6) & valid[:, :, None]  # (n, H, D)
        images = source.images(seen)
        tokens, tasks = self._tokens[source_index], source.task_index[starts]
        points = np.zeros((len(starts), images.shape[1], _POINTS, 4), np.float32)  # u, v, visible, labelled
        if source.points is not None:
            points[..., :3] = source.points[seen]
            points[..., 3] = 1
        return _Part(
            rows=[
                sample.Row(images=image, state=pose, tokens=tokens[name][task], codec=codec, pictured=before)
                for image, pose, task, before, name in zip(images, state, tasks, pictured, named)
            ],
            actions=codec.encode(chunk, state),
            action_mask=valid[:, :, None] & codec.mask & told_right[:, None, None],
            quiet_mask=np.stack([self._quiet(source.card.name, name) for name in named]),
            points=points,
            clipped=beyond.sum((1, 2)) / np.maximum(valid.sum(1) * beyond.shape[2], 1),
        )

    def _late(
        self, source: Source, starts: np.ndarray, samples: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps (n,) whose pictures are seen, the states (n, S) there, and the states foreseen from there."""
        if not self.late_steps:
            state = source.state[starts]
            return starts, state, state
        steps = 1 + np.floor(uniform(self._seed, _LATE, samples) * self.late_steps).astype(np.int64)
        late = np.where(uniform(self._seed, _IS_LATE, samples) < 0.5, steps, 0)
        seen = source.earlier(starts, late)
        state = source.state[seen]
        moved = self._foreseen[source.card.name].after(state, source.done(np.maximum(starts - 1, 0)))
        return seen, state, np.where((seen < starts)[:, None], moved, state)

    def _quiet(self, seen: str, named: str) -> np.ndarray:
        """Slots (K,) that must stay at zero: all but the body's own; under a wrong name, the body's own."""
        silent = ~self.codecs[named].mask
        return silent if seen == named else silent & self.codecs[seen].mask

    def _names(self, card_name: str, samples: np.ndarray) -> list[str]:
        """The body each row is told it is: nearly always its own."""
        others = [name for name in self._cards if name != card_name]
        if not others or not self.misnamed:
            return [card_name] * len(samples)
        wrong = uniform(self._seed, _IS_MISNAMED, samples) < self.misnamed
        which = np.floor(uniform(self._seed, _MISNAMED, samples) * len(others)).astype(int)
        return [others[i] if w else card_name for w, i in zip(wrong, which)]


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Windows that share a weight. windows: of those of their source (count,); None: all"""

    source: int
    weight: float
    count: int
    windows: np.ndarray | None = None


def _groups(number: int, source: Source, tasks_alike: bool) -> list[_Group]:
    """A source's windows as one group, or those of each of its tasks with the same share."""
    if not tasks_alike:
        return [_Group(source=number, weight=source.weight, count=len(source.starts))]
    task = source.task_index[source.starts[np.arange(len(source.starts))]]
    by_task = [np.flatnonzero(task == one) for one in np.unique(task)]
    weight = source.weight / len(by_task)
    return [_Group(source=number, weight=weight, count=len(own), windows=own) for own in by_task]


@dataclass(frozen=True, kw_only=True)
class _Part:
    rows: list[sample.Row]
    actions: np.ndarray  # (n, H, K)
    action_mask: np.ndarray  # (n, H, K)
    quiet_mask: np.ndarray  # (n, K)
    points: np.ndarray  # (n, V, P, 4)
    clipped: np.ndarray  # (n,)


def _joined(parts: Sequence[_Part], order: np.ndarray, tokenizer: TextTokenizer) -> Batch:
    """Parts as one batch, with their rows in this order."""
    rows = [row for part in parts for row in part.rows]
    points = _stack_views([part.points for part in parts], max(len(row.images) for row in rows))[order]

    def whole(name: str) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([getattr(part, name) for part in parts])[order])

    return Batch(
        inputs=sample.inputs([rows[i] for i in order], tokenizer),
        actions=whole("actions"),
        action_mask=whole("action_mask"),
        quiet_mask=whole("quiet_mask"),
        points=torch.from_numpy(points[..., :2].copy()),
        point_mask=torch.from_numpy(points[..., 3] > 0),
        point_visible=torch.from_numpy(points[..., 2] > 0),
        clipped=whole("clipped").float(),
    )


def _told(
    tokenizer: TextTokenizer, source: Source, task: str, card: EmbodimentCard, horizon: int
) -> list[int]:
    try:
        return sample.prompt_tokens(tokenizer, card, task, horizon)
    except KinemaError as error:
        number = source.tasks.index(task)
        raise KinemaError(f"data set {source.name}, task {number} {task[:80]!r}: {error}") from None


def _stack_views(points: Sequence[np.ndarray], views: int) -> np.ndarray:
    padded = [np.pad(p, ((0, 0), (0, views - p.shape[1]), (0, 0), (0, 0))) for p in points]
    return np.concatenate(padded)
