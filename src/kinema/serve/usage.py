"""Metering: every answer is written to a journal before it is delivered, and booked from there.

`record` returns once the row is with the operating system: it survives the process being killed. The disk
itself is asked to keep it every `sync_s` (0: before `record` returns), which is what a power cut may cost.
A background thread books the journal into the database in batches; each row has a place in the journal
that makes it unique, so that a batch that is repeated after a crash books nothing twice. A locked or
missing database therefore only makes the journal longer. When the journal itself cannot take rows, `admit`
and `record` raise UsageError and the server answers 503: nothing is served unmetered.

Rows of answers may be kept for a number of days only; the sums by day, which reports, bills and quotas are
made of, are kept for ever.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kinema.schema import KinemaError
from kinema.serve.booking import DayUsage, book_rows, day_of, prune_rows, report, sums_of_days
from kinema.serve.journal import Journal, Row, Segment
from kinema.serve.prices import FREE, PriceTable
from kinema.serve.store import Store, StoreError, state_folder

BATCH = 500
PRUNE_BATCH = 5000  # rows deleted at once: a booking or another server waits for no more than that
TEND_S = 0.2
REFRESH_S = 5.0  # how often the sums of other servers on the same database are read
DAY_S = 86_400.0
DAYS = 32  # whose sums are kept in memory: a clock that is set back by less finds what was spent
MAX_NAME = 100
MAX_ACTIONS = 100_000

log = logging.getLogger(__name__)


class UsageError(KinemaError):
    """Usage cannot be written down now. A server answers 503 with Retry-After and delivers nothing."""


class Usage:
    """The metering of one server process. All methods are thread-safe.

    `record`, `admit` and `spent` are quick enough for the event loop; with sync_s=0, `record` waits for the
    disk and belongs in a thread.

    journal:   a folder; default "usage" in the state folder. Servers may share it.
    keep_days: rows from before so many days ago are deleted, at the start and once a day; None: never
    """

    def __init__(
        self,
        store: Store,
        *,
        journal: Path | Journal | None = None,
        prices: PriceTable = FREE,
        sync_s: float = 0.2,
        drain_s: float = 1.0,
        keep_days: int | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        if keep_days is not None and keep_days < 1:
            raise KinemaError(f"usage: rows are kept for 1 day or more; got {keep_days}")
        self._store, self._prices, self._wall = store, prices, wall
        self._keep_days, self._pruned_day = keep_days, ""
        self._sync_s, self._drain_s = sync_s, drain_s
        self._where = journal
        self._journal: Journal | None = None
        self._lock = threading.Lock()
        self._booking = threading.Lock()  # one batch at a time
        self._pending: Counter[tuple[str, str]] = Counter()  # actions in the journal by day and key id
        self._booked: dict[str, dict[str, int]] = {}  # actions in the database by day and key id
        self._backlog = 0
        self.trouble = ""  # why the journal is not booked now
        self._refreshed_s = -math.inf
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to book in the background. Rows that a killed server left in the journal are booked first.

        Raises StoreError when the database does not answer, and OSError when the journal cannot be opened.
        """
        where = self._where or state_folder() / "usage"
        journal = where if isinstance(where, Journal) else Journal(where)
        self._journal = journal
        self._count_left_over(journal)
        journal.tend()
        now_s = self._wall()
        self._read_sums({day_of(now_s - DAY_S * back) for back in range(-1, DAYS - 1)})
        self._book_all()
        acts = [(self._sync_s or TEND_S, journal.tend), (self._drain_s, self._book_quietly)]
        if self._keep_days is not None:
            self._prune_quietly()
            acts.append((self._drain_s, self._prune_quietly))
        self._threads = [threading.Thread(target=self._every, args=act, daemon=True) for act in acts]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Book what is left, as far as the database answers, and stop. The rest stays in the journal."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._threads = []
        if self._journal is not None:
            self._journal.tend()
            self._book_quietly()
            self._journal.close()

    def admit(self) -> None:
        """Call before work is begun. Raises UsageError when its usage could not be written down."""
        fault = self.fault
        if fault is not None:
            raise UsageError(fault)

    def record(self, key_id: str, model: str, body: str, actions: int, milliseconds: float) -> None:
        """Call before an answer is delivered. Raises UsageError; then it must not be delivered."""
        _check(key_id, model, body, actions, milliseconds)
        journal, time_s = self._running(), self._wall()
        row = Row(
            sequence=0,
            time_s=time_s,
            key_id=key_id,
            model=model,
            body=body,
            actions=actions,
            milliseconds=float(milliseconds),
            cost_nano=self._prices.price_nano(model, body) * actions,
            currency=self._prices.currency,
        )
        try:
            with self._lock:
                journal.append(row)
                self._pending[day_of(time_s), key_id] += actions
                self._backlog += 1
            if self._sync_s == 0:
                journal.sync()
        except OSError as error:
            raise UsageError(f"usage cannot be written down: {error.strerror or error}") from None

    def spent(self, key_id: str, time_s: float) -> int:
        """Actions of this key on this time's UTC day, those not yet booked included."""
        day = day_of(time_s)
        with self._lock:
            return self._booked.get(day, {}).get(key_id, 0) + self._pending[day, key_id]

    def report(self, key_id: str | None = None, day: str | None = None) -> list[DayUsage]:
        """Newest day first. Books the journal, then reads the database: use a thread. Raises StoreError."""
        if self._journal is not None:
            self._book_all()
        return report(self._store, key_id, day)

    @property
    def fault(self) -> str | None:
        """Why new work is refused, or None."""
        if self._journal is None:
            return "the metering is not started"
        if not all(thread.is_alive() for thread in self._threads):
            return "the metering has stopped working; the server's log says why"
        return self._journal.fault

    @property
    def backlog(self) -> int:
        """Rows in the journal that are not booked yet."""
        return self._backlog

    def _running(self) -> Journal:
        if self._journal is None:
            raise UsageError("the metering is not started")
        return self._journal

    def _every(self, period_s: float, act: Callable[[], None]) -> None:
        while not self._stop.wait(period_s):
            act()

    def _count_left_over(self, journal: Journal) -> None:
        """Rows that another process left count as pending until they are booked."""
        for segment in journal.to_book():
            rows, _ = segment.read(0, segment.size)
            for row in rows:
                self._pending[day_of(row.time_s), row.key_id] += row.actions
            self._backlog += len(rows)

    def _book_quietly(self) -> None:
        try:
            self._book_all()
            if time.monotonic() - self._refreshed_s >= REFRESH_S:
                self._read_sums({day_of(self._wall())})
            self.trouble = ""
        except StoreError as error:
            self.trouble = str(error)
            log.warning("%d rows of usage wait in the journal: %s", self._backlog, error)

    def _prune_quietly(self) -> None:
        """Delete a batch of rows that are too old. Once there are no more, the next is tomorrow's."""
        assert self._keep_days is not None
        now_s = self._wall()
        today = day_of(now_s)
        if self._pruned_day == today:
            return
        oldest_s = max(0.0, now_s - DAY_S * self._keep_days)  # a calendar has no day before the year 1
        try:
            with self._store.writing() as connection:
                deleted = prune_rows(connection, day_of(oldest_s), PRUNE_BATCH)
        except StoreError as error:
            log.warning("old rows of usage are not deleted yet: %s", error)
            return
        if deleted < PRUNE_BATCH:
            self._pruned_day = today

    def _book_all(self) -> None:
        """Everything that is in the journal now goes into the database. Raises StoreError."""
        journal = self._running()
        with self._booking:
            for segment in journal.to_book():
                end = segment.end  # under load more rows keep coming; those are for the next time
                while segment.booked < end:
                    self._book_batch(segment)
                journal.let_go(segment)

    def _book_batch(self, segment: Segment) -> None:
        rows, offset = segment.read(segment.booked, BATCH)
        with self._store.writing() as connection:
            book_rows(connection, segment.name, rows)
            booked = sums_of_days(connection, {day_of(row.time_s) for row in rows})
        with self._lock:
            self._remember(booked)
            for row in rows:
                place = day_of(row.time_s), row.key_id
                self._pending[place] -= row.actions
                if not self._pending[place]:
                    del self._pending[place]
            self._backlog -= len(rows)
            segment.booked = offset

    def _read_sums(self, days: set[str]) -> None:
        self._refreshed_s = time.monotonic()
        with self._booking:  # no batch moves rows from pending to booked meanwhile
            with self._store.reading() as connection:
                booked = sums_of_days(connection, days)
            with self._lock:
                self._remember(booked)

    def _remember(self, booked: dict[str, dict[str, int]]) -> None:
        self._booked.update(booked)
        for day in sorted(self._booked)[: -2 * DAYS]:
            del self._booked[day]


def _check(key_id: str, model: str, body: str, actions: int, milliseconds: float) -> None:
    """What the database would refuse must not enter the journal: nothing behind it would be booked."""
    for what, name in (("key", key_id), ("model", model), ("body", body)):
        if not (0 < len(name) <= MAX_NAME and name.isprintable()):
            raise KinemaError(f"usage: {what} has 1 to {MAX_NAME} printable characters; got {name!r}")
    if not 0 <= actions <= MAX_ACTIONS:
        raise KinemaError(f"usage: actions are 0 to {MAX_ACTIONS}; got {actions}")
    if not 0 <= milliseconds < math.inf:
        raise KinemaError(f"usage: milliseconds are 0 or more; got {milliseconds}")
