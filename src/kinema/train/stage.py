"""What a stage is: a network, the batches it learns from, its losses, and what is exported in the end.

A stage is one file in `stages/`. It is built once, before processes part, so that they share what it holds in
memory and begin with the same weights. Everything else of a run (loop, resume, averages, seeds, processes,
provenance) is the same for every stage (`run.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from kinema.card.card import EmbodimentCard
from kinema.data.clipping import MOST_CLIPPED
from kinema.data.frames import Way
from kinema.data.stream import Feed, Stream
from kinema.model.device import Precision
from kinema.schema import KinemaError
from kinema.train.record import DataPart
from kinema.train.shard import layers_of

Words = Literal["init", "data"]
B = TypeVar("B")
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a recipe that brings no data or network of its own is told of them.

    sets: data sets; card: whose they are, a name or a path; None: as each says itself
    hold_out: every so many episodes of each set are not learnt from (`data/source.py`); 0: none
    backbone: a released checkpoint, a path or a name, and its revision
    preset: whose decoder a policy on it gets (`model/policy/presets.py`)
    lora: the rank of adapters on these parts (`lora.py`); 0: none
    """

    sets: tuple[Path, ...] = ()
    card: str | None = None
    hold_out: int = 0
    backbone: str | None = None
    revision: str | None = None
    preset: str | None = None
    lora: int = 0
    lora_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.lora_on and not self.lora:
            raise KinemaError(f"adapters on {' and '.join(self.lora_on)} need a rank: --lora 16")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where a stage is built. precision: of what is computed once, before the first step.

    init: an artifact whose weights (words, statistics) are where the run begins
    words: of `init`, or new ones learnt from the data's sentences
    stored: the assets of the checkpoint that is gone on from; then `init` is None
    most_clipped: most of a channel's targets that statistics from elsewhere may clip
    pictures: how those of data sets are read (`data/frames.py`)
    is_planned: only looked at (`plan.py`): a large network is built without memory, little data is read
    """

    data: Path
    out: Path
    seed: int = 0
    precision: Precision = "fp32"
    init: Path | None = None
    words: Words = "init"
    stored: Mapping[str, bytes] | None = None
    most_clipped: float = MOST_CLIPPED
    pictures: Way = "cache"
    named: Named = field(default_factory=Named)
    is_planned: bool = False

    def empty(self) -> AbstractContextManager[object]:
        """Within, a network is built without memory, if this is only a plan."""
        return torch.device("meta") if self.is_planned else nullcontext()


@dataclass(frozen=True, kw_only=True)
class MadeOf:
    """What gives a stage's weights their meaning (`record.py`). network: its configuration."""

    network: Any
    data: Sequence[DataPart] = ()
    cards: Sequence[EmbodimentCard] = ()
    assets: Mapping[str, bytes] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    noted: Mapping[str, Any] = field(default_factory=dict)


class Stage(ABC, Generic[M, B]):
    """Built from a `Setting`. Calling it with a batch gives its losses by name.

    weights: of the losses, by name; one of weight 0 is watched and not learnt from
    phases: parts of a run by name, and the steps they end at; the last one, to the run's end, is not among
        them. What is held out is judged after each that took steps, and at the end
    """

    model: M
    weights: Mapping[str, float]
    made_of: MadeOf
    phases: Sequence[tuple[str, int]] = ()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    @abstractmethod
    def __call__(self, batch: B, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Losses of a batch, on the model's device. All randomness is the generator's, which is a CPU's."""

    @abstractmethod
    def stream(self, feed: Feed) -> Stream[B]:
        """The batches of one process."""

    def layers(self) -> Sequence[nn.Module]:
        """What the network repeats, each called by `forward` alone: the units of `shard.py`."""
        return list(layers_of(self.model))

    def judge(self, model: M) -> Mapping[str, Any]:
        """What a network of this stage, in eval mode, makes of what was held out; empty where nothing is."""
        return {}

    def provenance(self) -> Mapping[str, Any]:
        """What the artifact says of its making beside what every run says."""
        return {}

    @abstractmethod
    def export(
        self, model: M, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        """Write the artifact of a network of this stage, in eval mode, into an empty folder.

        judged: what `judge` says of the network
        """


class RowStage(Stage[M, B]):
    """A stage whose batches are rows of what lies in memory."""

    @abstractmethod
    def choose(self, rng: np.random.Generator, count: int, drawn: int) -> np.ndarray:
        """Rows (count, ...) of the batch number `drawn`, of all processes together; each takes every n-th."""

    @abstractmethod
    def gather(self, rows: np.ndarray) -> B:
        """The batch of these rows."""

    @abstractmethod
    def origin(self, rows: np.ndarray) -> list[str]:
        """Where each of these rows comes from."""

    def stream(self, feed: Feed) -> Stream[B]:
        return Rows(self, feed)


class Rows(Stream[B]):
    """The batches of a stage of rows: every process and part has a share of what is chosen for all."""

    def __init__(self, stage: RowStage[Any, B], feed: Feed) -> None:
        super().__init__(replace(feed, pin=False))  # a stage's own batch may be of any kind
        self.stage = stage

    def batch(self, number: int) -> B:
        return self.stage.gather(self._rows(number))

    def origins(self, number: int) -> list[str]:
        return self.stage.origin(self._rows(number))

    def _rows(self, number: int) -> np.ndarray:
        feed, shares = self.feed, self.feed.ranks * self.feed.parts
        batch, part = divmod(number, feed.parts)
        rng = np.random.default_rng([feed.seed, batch])
        rows = self.stage.choose(rng, feed.batch_size * shares, batch)
        if len(rows) < shares:
            raise KinemaError(f"a batch of {len(rows)} rows cannot be shared by {shares} processes and parts")
        return rows[feed.rank * feed.parts + part :: shares]


def start_from(
    model: nn.Module, start: nn.Module, *, may_lack: bool = False, parts: tuple[str, ...] = ("",)
) -> None:
    """Begin with another network's weights. Raises KinemaError when the two differ.

    may_lack: what only the new one has keeps its own beginning; parts: only weights whose names begin so
    """
    weights = {name: value for name, value in start.state_dict().items() if name.startswith(parts)}
    try:
        left = model.load_state_dict(weights, strict=not may_lack).unexpected_keys
    except RuntimeError as error:
        raise KinemaError(f"cannot start from it: {str(error).splitlines()[1].strip()}") from None
    if left:
        raise KinemaError(f"cannot start from it: this recipe's network has no {left[0]}")
