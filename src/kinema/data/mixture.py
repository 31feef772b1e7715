"""An endless, resumable stream of batches drawn from several sources.

The order depends on nothing but the seed and the number of batches drawn, so its whole state is two
integers, and a resumed run continues with the very batch the stopped one would have drawn.

Where asked, half of the rows see pictures from some steps before and the pose that the actions carried out
since have led to, as a policy does whose answers come late.

A share of the rows is told the name of another body. Such a row teaches one thing: the slots of the body
that is seen, but not named, stay quiet. Without it the pictures alone would say which body moves, and the
prompt would decide nothing.

Axes: B batch, H steps, K slots, V views, P points.
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
from kinema.data.source import Source
from kinema.data.text import TextTokenizer
from kinema.schema import KinemaError
from kinema.space.codec import Codec
from kinema.space.foreseen import Foreseen

_POINTS = 2


@dataclass(frozen=True, kw_only=True)
class MixtureState:
    seed: int
    drawn: int


class Mixture:
    """Draws batches; `codecs` holds one codec per card name."""

    def __init__(
        self,
        sources: Sequence[Source],
        codecs: Mapping[str, Codec],
        tokenizer: TextTokenizer,
        *,
        batch_size: int,
        horizon: int,
        seed: int,
        misnamed: float = 0.0,
        late_steps: int = 0,
        stream: int = 0,
        streams: int = 1,
    ) -> None:
        """misnamed: share of rows told another body's name, where the mixture has more than one.

        late_steps: most steps that the pictures of a row may be older than its pose

        stream: which of `streams` processes draws; each sees rows of its own.
        """
        self.misnamed, self.late_steps, self.stream, self.streams = misnamed, late_steps, stream, streams
        self.sources, self.codecs, self.tokenizer = sources, codecs, tokenizer
        self.batch_size, self.horizon = batch_size, horizon
        self.state = MixtureState(seed=seed, drawn=0)
        self._drawn: list[tuple[Source, int]] = []  # source and start of each row of the batch drawn last
        weights = np.array([source.weight for source in sources], np.float64)
        self._weights = weights / weights.sum()
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

    def draw(self) -> Batch:
        """The next batch. Rows are drawn source by weight, then start uniformly."""
        rng = np.random.default_rng([self.state.seed, self.state.drawn * self.streams + self.stream])
        self.state = MixtureState(seed=self.state.seed, drawn=self.state.drawn + 1)
        picks = np.sort(rng.choice(len(self.sources), self.batch_size, p=self._weights))
        parts, self._drawn = [], []
        for i in np.unique(picks):
            starts = np.sort(rng.choice(self.sources[i].starts, int((picks == i).sum())))
            self._drawn += [(self.sources[i], int(start)) for start in starts]
            parts.append(self._rows(int(i), starts, rng))
        rows = [row for part in parts for row in part.rows]
        points = _stack_views([part.points for part in parts], max(len(row.images) for row in rows))
        return Batch(
            inputs=sample.inputs(rows, self.tokenizer),
            actions=torch.from_numpy(np.concatenate([part.actions for part in parts])),
            action_mask=torch.from_numpy(np.concatenate([part.action_mask for part in parts])),
            quiet_mask=torch.from_numpy(np.concatenate([part.quiet_mask for part in parts])),
            points=torch.from_numpy(points[..., :2].copy()),
            point_mask=torch.from_numpy(points[..., 3] > 0),
            point_visible=torch.from_numpy(points[..., 2] > 0),
        )

    def origin(self) -> list[str]:
        """Where each row of the batch drawn last comes from: data set, episode and frame."""
        return [source.place(start, self.horizon) for source, start in self._drawn]

    def _rows(self, source_index: int, starts: np.ndarray, rng: np.random.Generator) -> _Part:
        source = self.sources[source_index]
        codec, starts = self.codecs[source.card.name], np.sort(starts)
        named = self._names(source.card.name, len(starts), rng)
        told_right = np.array([name == source.card.name for name in named])
        chunk, valid = source.windows(starts, self.horizon)
        valid = valid & (np.arange(self.horizon) < asked_steps(source.card, self.horizon))
        seen, state = self._late(source, starts, rng) if self.late_steps else (starts, source.state[starts])
        images = source.images(seen)
        tokens = self._tokens[source_index]
        points = np.zeros((len(starts), images.shape[1], _POINTS, 4), np.float32)  # u, v, visible, labelled
        if source.points is not None:
            points[..., :3] = source.points[seen]
            points[..., 3] = 1
        return _Part(
            rows=[
                sample.Row(
                    images=image,
                    state=pose,
                    tokens=tokens[name][source.task_index[i]],
                    codec=codec,
                    pictured=source.state[at],
                )
                for image, pose, i, at, name in zip(images, state, starts, seen, named)
            ],
            actions=codec.encode(chunk, state),
            action_mask=valid[:, :, None] & codec.mask & told_right[:, None, None],
            quiet_mask=np.stack([self._quiet(source.card.name, name) for name in named]),
            points=points,
        )

    def _late(
        self, source: Source, starts: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Steps (n,) whose pictures are seen, and states (n, S) as they are foreseen from there."""
        late = rng.integers(1, self.late_steps + 1, len(starts)) * rng.integers(0, 2, len(starts))
        seen = source.earlier(starts, late)
        state = source.state[seen]
        moved = self._foreseen[source.card.name].after(state, source.done(starts - 1))
        return seen, np.where((seen < starts)[:, None], moved, state)

    def _quiet(self, seen: str, named: str) -> np.ndarray:
        """Slots (K,) that must stay at zero: all but the body's own; under a wrong name, the body's own."""
        silent = ~self.codecs[named].mask
        return silent if seen == named else silent & self.codecs[seen].mask

    def _names(self, card_name: str, count: int, rng: np.random.Generator) -> list[str]:
        """The body each row is told it is: nearly always its own."""
        others = [name for name in self._cards if name != card_name]
        if not others or not self.misnamed:
            return [card_name] * count
        wrong = rng.random(count) < self.misnamed
        return [others[rng.integers(len(others))] if w else card_name for w in wrong]


@dataclass(frozen=True, kw_only=True)
class _Part:
    rows: list[sample.Row]
    actions: np.ndarray  # (n, H, K)
    action_mask: np.ndarray  # (n, H, K)
    quiet_mask: np.ndarray  # (n, K)
    points: np.ndarray  # (n, V, P, 4)


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
