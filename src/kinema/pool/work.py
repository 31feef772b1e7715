"""What the workers of a pool do, and what they say.

Work is a value that crosses to each worker, which begins it once and then answers items with it. What is sent
between the two ends is pickled by multiprocessing or by Ray: both ends are ours, and nothing of it is stored.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from kinema.card.card import EmbodimentCard
from kinema.card.load import CardError, know
from kinema.schema import KinemaError

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)

# numeric libraries read these when they are first imported
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Worker(Protocol[Item, Result]):
    """Work that has begun: it answers one item after the other. `said` is told to whoever opened the pool."""

    @property
    def said(self) -> Mapping[str, Any]: ...

    def do(self, item: Item) -> Result: ...

    def close(self) -> None: ...


class Work(Protocol[Item, Result]):
    """What a worker is made of: plain values."""

    def files(self) -> tuple[str, ...]:
        """The files and folders it reads, as its values name them: a machine that lacks them is sent them."""
        ...

    def moved(self, places: Mapping[str, str]) -> Self:
        """The same with files in other places."""
        ...

    def begin(self) -> Worker[Item, Result]:
        """Once in each worker. Raises KinemaError (or OSError) where nothing can be done."""
        ...


@dataclass(frozen=True)
class Ready:
    """The worker can begin."""

    said: Mapping[str, Any]


@dataclass(frozen=True)
class Unfit:
    """It cannot: something the user can mend."""

    why: str


@dataclass(frozen=True)
class Done:
    """An item's result."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """What an item raised, to be raised where the pool is."""

    error: Exception
    trace: str


def begin(
    work: Work[Any, Any], cards: tuple[EmbodimentCard, ...]
) -> tuple[Worker[Any, Any] | None, Ready | Unfit]:
    """Begin work in this process, which gets to know the cards."""
    try:
        know(*cards)
        worker = work.begin()
    except (KinemaError, CardError, OSError) as error:
        return None, Unfit(str(error))
    if "torch" in sys.modules:  # never imported here; a network has done so by now
        sys.modules["torch"].set_num_threads(1)
    return worker, Ready(dict(worker.said))


def answer(worker: Worker[Any, Any], item: Any) -> Done | Failed:
    """One item; whatever it raises is raised at the other end."""
    try:
        return Done(worker.do(item))
    except Exception as error:
        return Failed(_that_travels(error), traceback.format_exc())


def _that_travels(error: Exception) -> Exception:
    """The error, or where it cannot be pickled one of its kind with its words."""
    with suppress(Exception):
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    return KinemaError(str(error)) if isinstance(error, KinemaError) else RuntimeError(repr(error))
