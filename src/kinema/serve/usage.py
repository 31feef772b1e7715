"""Metering: every answer is written to a journal before it is delivered, and booked from there.

`record` returns once the row is with the operating system: it survives the process being killed. The disk
itself is asked to keep it every `sync_s` (0: before `record` returns), which is what a power cut may cost.
A background thread books the journal into the database in batches; each row has a place in the journal
that makes it unique, so that a batch that is repeated after a crash books nothing twice. A locked or
missing database therefore only makes the journal longer. When the journal itself cannot take rows, `admit`
and `record` raise UsageError and the server answers 503: nothing is served unmetered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kinema.schema import KinemaError
from kinema.serve.prices import FREE, PriceTable
from kinema.serve.store import Store


class UsageError(KinemaError):
    """Usage cannot be written down now. A server answers 503 with Retry-After and delivers nothing."""


@dataclass(frozen=True, kw_only=True)
class DayUsage:
    """What one key used on one UTC day of one model on one body. `cost` is a decimal number as text."""

    day: str
    key_id: str
    key_name: str
    model: str
    body: str
    requests: int
    actions: int
    milliseconds: float
    cost: str
    currency: str


class Usage:
    """The metering of one server process. `record`, `admit` and `spent` are quick enough for the event loop
    (with sync_s=0, call `record` in a thread); all methods are thread-safe."""

    def __init__(
        self,
        store: Store,
        *,
        journal: Path | None = None,
        prices: PriceTable = FREE,
        sync_s: float = 0.2,
        drain_s: float = 1.0,
        wall: Callable[[], float] = time.time,
    ) -> None: ...

    def start(self) -> None:
        """Begin to book in the background. Rows that a killed server left in the journal are booked first."""
        raise NotImplementedError

    def close(self) -> None:
        """Book what is left, as far as the database answers, and stop."""
        raise NotImplementedError

    def admit(self) -> None:
        """Call before work is begun. Raises UsageError when its usage could not be written down."""
        raise NotImplementedError

    def record(self, key_id: str, model: str, body: str, actions: int, milliseconds: float) -> None:
        """Call before an answer is delivered. Raises UsageError; then it must not be delivered."""
        raise NotImplementedError

    def spent(self, key_id: str, time_s: float) -> int:
        """Actions of this key on this time's UTC day, those not yet booked included."""
        raise NotImplementedError

    def report(self, key_id: str | None = None, day: str | None = None) -> list[DayUsage]:
        """Newest day first. Books the journal, then reads the database: use a thread."""
        raise NotImplementedError

    @property
    def fault(self) -> str | None:
        """Why new work is refused, or None."""
        raise NotImplementedError

    @property
    def backlog(self) -> int:
        """Rows in the journal that are not booked yet."""
        raise NotImplementedError
