"""Rows that are too old go, once a day; today's and all sums stay, and nothing is booked twice for it."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from kinema.schema import KinemaError
from kinema.serve import usage as metering
from kinema.serve.booking import book_rows, day_of, prune_rows
from kinema.serve.outbox import Row
from kinema.serve.store import Store, events_table, open_store
from kinema.serve.usage import DAY_S, Usage
from laws import examples

NEVER_S = 1e6  # background threads that do nothing: the test says when
NOON_S = 1_790_000_000.0


class Clock:
    """A wall clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = NOON_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'serve.sqlite'}", busy_s=0.05)
    yield store
    store.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _usage(store: Store, folder: Path, clock: Clock, keep_days: int | None) -> Usage:
    return Usage(store, outbox=folder / "usage", drain_s=NEVER_S, keep_days=keep_days, wall=clock)


def _use(store: Store, folder: Path, clock: Clock, ages: Sequence[int]) -> None:
    """A server's life: one row for each age in days, booked."""
    usage = _usage(store, folder, clock, None)
    usage.start()
    for age in ages:
        clock.now_s = NOON_S - DAY_S * age
        usage.record([("k", "m", "b", 1, 1.0)])
    clock.now_s = NOON_S
    usage.close()


def _ages(store: Store) -> list[int]:
    with store.reading() as connection:
        times = connection.execute(select(events_table.c.time_s)).scalars().all()
    return sorted(round((NOON_S - time_s) / DAY_S) for time_s in times)


def test_old_rows_go_at_the_start_and_the_sums_stay(store: Store, tmp_path: Path, clock: Clock) -> None:
    _use(store, tmp_path, clock, [400, 31, 30, 1, 0])
    usage = _usage(store, tmp_path, clock, 30)
    usage.start()
    assert _ages(store) == [0, 1, 30]
    assert len(usage.report()) == 5
    assert usage.spent("k", NOON_S) == 1
    usage.close()


@pytest.mark.parametrize("keep_days", [None, 4000, 10**7], ids=["by default", "long", "beyond the calendar"])
def test_all_are_kept(store: Store, tmp_path: Path, clock: Clock, keep_days: int | None) -> None:
    _use(store, tmp_path, clock, [4000, 0])
    usage = _usage(store, tmp_path, clock, keep_days)
    usage.start()
    assert _ages(store) == [0, 4000]
    usage.close()


def test_it_happens_once_a_day(store: Store, tmp_path: Path, clock: Clock) -> None:
    usage = _usage(store, tmp_path, clock, 1)
    usage.start()
    _use(store, tmp_path, clock, [2, 1, 0])
    usage._prune_quietly()
    assert _ages(store) == [0, 1, 2]  # was done today
    clock.now_s += DAY_S
    usage._prune_quietly()
    assert _ages(store) == [0]
    usage.close()


def test_the_row_of_a_moment_ago_outlives_midnight(store: Store, tmp_path: Path, clock: Clock) -> None:
    midnight_s = NOON_S - NOON_S % DAY_S
    clock.now_s = midnight_s - 0.1
    usage = _usage(store, tmp_path, clock, 1)
    usage.start()
    for _ in range(2):
        usage.record([("k", "m", "b", 1, 1.0)])
    usage.report()
    clock.now_s = midnight_s
    usage._prune_quietly()
    assert len(_ages(store)) == 2
    usage.close()


def test_a_great_many_go_in_batches(
    store: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "PRUNE_BATCH", 10)
    _use(store, tmp_path, clock, [9] * 25 + [0])
    usage = _usage(store, tmp_path, clock, 1)
    usage.start()
    left = [len(_ages(store))]
    for _ in range(3):
        usage._prune_quietly()
        left.append(len(_ages(store)))
    assert left == [16, 6, 1, 1]
    usage.close()


def test_an_outbox_that_turns_up_again_is_not_booked_twice(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    killed = _usage(store, tmp_path, clock, None)
    killed.start()
    for _ in range(3):
        killed.record([("k", "m", "b", 1, 1.0)])
    assert killed._outbox is not None
    (own,) = killed._outbox.to_book()
    copy = own.path.with_suffix(".copy")
    own._connection.execute("PRAGMA wal_checkpoint")
    shutil.copy(own.path, copy)
    killed.report()
    own._connection.close()
    copy.rename(own.path)
    clock.now_s += 100 * DAY_S
    other = _usage(store, tmp_path / "elsewhere", clock, 30)
    other.start()
    assert len(_ages(store)) == 1  # which says how far it was booked
    other.close()
    after = _usage(store, tmp_path, clock, 30)
    after.start()
    assert [row.requests for row in after.report()] == [3]
    after.close()


def test_a_locked_database_is_tried_again(store: Store, tmp_path: Path, clock: Clock) -> None:
    _use(store, tmp_path, clock, [0])
    usage = _usage(store, tmp_path, clock, 1)
    usage.start()
    clock.now_s += 5 * DAY_S
    usage.record([("k", "m", "b", 1, 1.0)])
    usage.record([("k", "m", "b", 1, 1.0)])
    usage.report()
    clock.now_s += 5 * DAY_S
    blocker = sqlite3.connect(tmp_path / "serve.sqlite", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    usage._prune_quietly()
    assert usage.fault is None
    blocker.execute("ROLLBACK")
    blocker.close()
    usage._prune_quietly()
    assert _ages(store) == [-5, 0]  # the newest of each segment
    usage.close()


@examples(25)
@given(
    segments=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6), max_size=4),
    keep_days=st.integers(1, 6),
    most=st.integers(1, 30),
)
def test_what_goes_is_old_and_what_is_old_goes(
    tmp_path_factory: pytest.TempPathFactory, segments: list[list[int]], keep_days: int, most: int
) -> None:
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('prune') / 'serve.sqlite'}")
    with store.writing() as connection:
        for number, ages in enumerate(segments):
            rows = [_row(sequence, age) for sequence, age in enumerate(ages)]
            book_rows(connection, f"s{number}", rows)
    old = sum(age > keep_days for ages in segments for age in ages[:-1])
    with store.writing() as connection:
        deleted = prune_rows(connection, day_of(NOON_S - DAY_S * keep_days), most)
    assert deleted == min(old, most)
    kept = Counter(_ages(store))
    assert sum(kept.values()) == sum(map(len, segments)) - deleted
    for age in range(keep_days + 1):
        assert kept[age] == sum(ages.count(age) for ages in segments)
    store.close()


def _row(sequence: int, age: int) -> Row:
    return Row(
        sequence=sequence, time_s=NOON_S - DAY_S * age, key_id="k", model="m", body="b", actions=1,
        milliseconds=1.0, cost_nano=0, currency="EUR",
    )  # fmt: skip


@pytest.mark.parametrize("keep_days", [0, -1])
def test_todays_rows_cannot_be_asked_away(store: Store, tmp_path: Path, clock: Clock, keep_days: int) -> None:
    with pytest.raises(KinemaError, match=f"1 day or more; got {keep_days}"):
        _usage(store, tmp_path, clock, keep_days)
