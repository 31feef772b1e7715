"""Metering: every answer is on the disk in an outbox before it is delivered, and booked from there.

A background thread books the outbox into the database in batches. Each row has a place in the outbox that
makes it unique, so that a batch that is repeated after a crash books nothing twice. A locked or missing
database therefore only makes the outbox longer. When the outbox itself cannot take rows, `fault` says
so and `record` raises UsageError: the server answers 503: nothing is served unmetered.

Rows of answers may be kept for a number of days only; the sums by day, which reports, bills and quotas are
made of, are kept for ever.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kinema.schema import KinemaError
from kinema.serve import booking
from kinema.serve.booking import DayUsage, KeyRow, day_of
from kinema.serve.outbox import Outbox, OutboxFile, Row
from kinema.serve.prices import FREE, PriceTable
from kinema.serve.store import Store, StoreError, state_folder

BATCH = 500
PRUNE_BATCH = 5000  # rows deleted at once: a booking or another server waits for no more than that
REFRESH_S = 5.0  # how often the sums of other servers on the same database are read
DAY_S = 86_400.0
DAYS = 32  # whose sums are kept in memory: a clock that is set back by less finds what was spent
MAX_NAME = 100
MAX_ACTIONS = 100_000
EMPTY: Mapping[str, dict[str, int]] = {}

Used = tuple[str, str, str, int, float]  # one answer: key id, model, body, actions, milliseconds

log = logging.getLogger(__name__)


class UsageError(KinemaError):
    """Usage cannot be written down now. A server answers 503 with Retry-After and delivers nothing."""


@dataclass(kw_only=True, eq=False)
class Usage:
    """The metering of one server process. All methods are thread-safe.

    `fault` and `spent` are quick enough for the event loop; `record` waits for the disk.

    outbox:    a folder; default "usage" in the state folder. Servers may share it. Raises OSError where it
               cannot be made
    keep_days: rows from before so many days ago are deleted, at the start and once a day; None: never
    """

    store: Store = field(kw_only=False)
    outbox: Path | Outbox | None = None
    prices: PriceTable = FREE
    drain_s: float = 1.0
    keep_days: int | None = None
    wall: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if self.keep_days is not None and self.keep_days < 1:
            raise KinemaError(f"usage: rows are kept for 1 day or more; got {self.keep_days}")
        self._pruned_day = ""
        where = self.outbox or state_folder() / "usage"
        self._outbox = where if isinstance(where, Outbox) else Outbox(where)
        self._lock = threading.Lock()
        self._booking = threading.Lock()  # one batch at a time
        self._pending: Counter[tuple[str, str]] = Counter()  # actions in our file by day and key id
        self._booked: dict[str, dict[str, int]] = {}  # actions in the database by day and key id
        self.backlog = 0  # rows in our file that are not booked yet
        self.trouble = ""  # why they are not booked now
        self._refreshed_s = -math.inf
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kinema-usage", daemon=True)

    def start(self) -> None:
        """Begin to book in the background. Rows that a killed server left in the outbox are booked first.

        Raises StoreError when the database does not answer.
        """
        self._outbox.tend()
        now_s = self.wall()
        self._read_sums({day_of(now_s - DAY_S * back) for back in range(-1, DAYS - 1)})
        self._book_all()
        self._prune_quietly()
        self._thread.start()

    def close(self) -> None:
        """Book what is left, as far as the database answers, and stop. The rest stays in the outbox."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._book_quietly()
        self._outbox.close()

    def record(self, answers: Sequence[Used]) -> None:
        """Call before they are delivered. Raises UsageError; then none of them may be delivered."""
        time_s = self.wall()
        rows = [self._row(time_s, *answer) for answer in answers]
        try:
            self._outbox.append(rows)
        except OSError as error:
            raise UsageError(f"usage cannot be written down: {error}") from None
        self._count(rows, 1)

    def spent(self, key_id: str, time_s: float) -> int:
        """Actions of this key on this time's UTC day, those not yet booked included."""
        day = day_of(time_s)
        with self._lock:
            return self._booked.get(day, {}).get(key_id, 0) + self._pending[day, key_id]

    def report(self, key_id: str | None = None, day: str | None = None) -> list[DayUsage]:
        """Newest day first. Books the outbox, then reads the database: use a thread. Raises StoreError."""
        self._book_all()
        return booking.report(self.store, key_id, day)

    def today(self) -> tuple[KeyRow, ...]:
        """What each key used on this UTC day; as `report`."""
        self._book_all()
        return booking.used_by_key(self.store, day_of(self.wall()))

    @property
    def fault(self) -> str | None:
        """Ask before work is begun: why its usage could not be written down, or None."""
        stopped = "the metering has stopped working; the server's log says why"
        return self._outbox.fault or (None if self._thread.is_alive() else stopped)

    def _row(
        self, time_s: float, key_id: str, model: str, body: str, actions: int, milliseconds: float
    ) -> Row:
        """What the database would refuse must not enter the outbox: nothing behind it would be booked."""
        for what, name in (("key", key_id), ("model", model), ("body", body)):
            if not (0 < len(name) <= MAX_NAME and name.isprintable()):
                raise KinemaError(f"usage: {what} has 1 to {MAX_NAME} printable characters; got {name!r}")
        if not 0 <= actions <= MAX_ACTIONS:
            raise KinemaError(f"usage: actions are 0 to {MAX_ACTIONS}; got {actions}")
        if not 0 <= milliseconds < math.inf:
            raise KinemaError(f"usage: milliseconds are 0 or more; got {milliseconds}")
        return Row(
            time_s=time_s, key_id=key_id, model=model, body=body, actions=actions,
            milliseconds=float(milliseconds), cost_nano=self.prices.price_nano(model, body) * actions,
            currency=self.prices.currency,
        )  # fmt: skip

    def _count(self, rows: Sequence[Row], sign: int, booked: Mapping[str, dict[str, int]] = EMPTY) -> None:
        """These rows came into our file (1), or left it for the database (-1), whose sums are these now."""
        with self._lock:
            self._booked.update(booked)
            for old in sorted(self._booked)[: -2 * DAYS]:
                del self._booked[old]
            for row in rows:
                place = day_of(row.time_s), row.key_id
                self._pending[place] += sign * row.actions
                if not self._pending[place]:
                    del self._pending[place]
            self.backlog += sign * len(rows)

    def _run(self) -> None:
        while not self._stop.wait(self.drain_s):
            self._outbox.tend()
            self._book_quietly()
            self._prune_quietly()

    def _book_quietly(self) -> None:
        try:
            self._book_all()
            if time.monotonic() - self._refreshed_s >= REFRESH_S:
                self._read_sums({day_of(self.wall())})
            self.trouble = ""
        except StoreError as error:
            self.trouble = str(error)
            log.warning("%d rows of usage wait in the outbox: %s", self.backlog, error)

    def _prune_quietly(self) -> None:
        """Delete a batch of rows that are too old. Once there are no more, the next is tomorrow's."""
        now_s = self.wall()
        today = day_of(now_s)
        if self.keep_days is None or self._pruned_day == today:
            return
        oldest_s = max(0.0, now_s - DAY_S * self.keep_days)  # a calendar has no day before the year 1
        try:
            with self.store.writing() as connection:
                deleted = booking.prune_rows(connection, day_of(oldest_s), PRUNE_BATCH)
        except StoreError as error:
            log.warning("old rows of usage are not deleted yet: %s", error)
            return
        if deleted < PRUNE_BATCH:
            self._pruned_day = today

    def _book_all(self) -> None:
        """Everything that is in the outbox now goes into the database. Raises StoreError."""
        with self._booking:
            for file in self._outbox.to_book():
                try:
                    self._book(file)
                    self._outbox.booked(file)
                except sqlite3.Error as error:
                    self._outbox.set_aside(file, error)

    def _book(self, file: OutboxFile) -> None:
        """All that is in a file now, in batches. Under load more rows keep coming: they are booked later."""
        after, end = file.booked, file.end
        while after < end:
            rows, last = file.read(after, BATCH)
            if last == after:
                return
            with self.store.writing() as connection:
                booking.book_rows(connection, file.name, rows)
                booked = booking.sums_of_days(connection, {day_of(row.time_s) for row in rows})
            self._count(rows if file is self._outbox.own else [], -1, booked)
            file.forget(last)
            after = last

    def _read_sums(self, days: set[str]) -> None:
        self._refreshed_s = time.monotonic()
        with self._booking:  # no batch moves rows from pending to booked meanwhile
            with self.store.reading() as connection:
                booked = booking.sums_of_days(connection, days)
            self._count([], 1, booked)
