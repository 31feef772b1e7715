"""Batches made ahead in worker processes, in the order of their numbers.

A batch is a function of its number, so it is the same whoever makes it, and the whole state of a run's data
is the number of the next one. Workers hold what they are making and `_AHEAD` batches more each.
"""

from __future__ import annotations

import atexit
import signal
from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, TypeVar, cast

from torch.utils.data import DataLoader, Dataset

from kinema.schema import KinemaError

B = TypeVar("B")
_AHEAD = 2


class Loader(Generic[B]):
    """`take(number)` gives a batch; the ones after it are begun at once, if there are workers.

    Asking for another than the one after the last starts the workers anew.
    """

    def __init__(self, make: Callable[[int], B], *, workers: int = 0, pin: bool = False) -> None:
        """pin: into memory that a GPU copies from while it computes; batches have `pin_memory`."""
        self._make, self._workers, self._pin = make, workers, pin
        self._coming: list[Iterator[B | KinemaError]] = []  # one, while workers run
        self._next = -1
        # workers heed no signals, so they are told to end before Python waits for its processes
        atexit.register(self._coming.clear)

    def take(self, number: int) -> B:
        """Batch `number`. Raises KinemaError where it cannot be made."""
        if not self._workers:
            made = self._make(number)
            return made.pin_memory() if self._pin else made  # type: ignore[attr-defined]
        if not self._coming or number != self._next:
            self.close()
            self._coming.append(self._started(number))
        self._next = number + 1
        try:
            batch = next(self._coming[0])
        except BaseException:
            self.close()
            raise
        if isinstance(batch, KinemaError):
            self.close()
            raise batch
        return batch

    def close(self) -> None:
        """End the workers."""
        self._coming.clear()

    def _started(self, number: int) -> Iterator[B | KinemaError]:
        loader = DataLoader(
            _Numbered(self._make),
            sampler=count(number),  # type: ignore[arg-type]
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=_AHEAD,
            pin_memory=self._pin,
            worker_init_fn=_begin,
        )
        return cast("Iterator[B | KinemaError]", iter(loader))


class _Numbered(Dataset, Generic[B]):
    """Batches by number. A KinemaError is given instead of raised: torch would bury it in a traceback."""

    def __init__(self, make: Callable[[int], B]) -> None:
        self._make = make

    def __getitem__(self, number: int) -> B | KinemaError:
        try:
            return self._make(number)
        except KinemaError as error:
            return KinemaError(str(error))


def _begin(worker: int) -> None:
    """Signals are the training's to heed; it ends its workers."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
