"""What is acknowledged is booked exactly once, whatever dies, is locked or is full in between."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from kinema.schema import KinemaError
from kinema.serve import outbox as outboxes
from kinema.serve.booking import day_of
from kinema.serve.outbox import Outbox, OutboxFile, Row
from kinema.serve.prices import ANY, NANO, PriceTable
from kinema.serve.store import Store, StoreError, events_table, open_store
from kinema.serve.usage import Usage, UsageError
from laws import examples

NEVER_S = 1e6  # background threads that do nothing: the test says when
NOON_S = 1_790_000_000.0


class Disk:
    """A disk that can be told to be full: for good, or but for the room that an outbox has already."""

    def __init__(self) -> None:
        self.full = False

    def connect(self, *where: Any, **options: Any) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                if disk.full and sql.startswith(("BEGIN", "PRAGMA journal_mode")):
                    raise sqlite3.OperationalError("No space left on device")
                return super().execute(sql, *values)

        return sqlite3.connect(*where, **options, factory=Connection)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "on_the_disk" not in request.node.name:
        hasty = tuple(statement.replace("FULL", "OFF") for statement in outboxes._SET_UP)
        monkeypatch.setattr(outboxes, "_SET_UP", hasty)


def _own(usage: Usage) -> OutboxFile:
    assert usage._outbox is not None
    return usage._outbox.to_book()[-1]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'serve.sqlite'}", busy_s=0.05)
    yield store
    store.close()


def _usage(store: Store, tmp_path: Path, **options: object) -> Usage:
    options = {"drain_s": NEVER_S, "wall": lambda: NOON_S, **options}
    options.setdefault("outbox", tmp_path / "usage")
    return Usage(store, **options)  # type: ignore[arg-type]


def _die(usage: Usage) -> None:
    """What a kill leaves: locks gone, nothing else done."""
    assert usage._outbox is not None
    for file in usage._outbox.to_book():
        file._connection.close()


def _events(store: Store) -> int:
    with store.reading() as connection:
        return connection.execute(select(func.count()).select_from(events_table)).scalar_one()


def test_a_record_is_reported_with_its_price(store: Store, tmp_path: Path) -> None:
    prices = PriceTable(currency="EUR", nano_per_action={ANY: {ANY: NANO // 10}, "nano": {"panda": 3}})
    usage = _usage(store, tmp_path, prices=prices)
    usage.start()
    usage.record([("a", "nano", "panda", 16, 20.0)])
    usage.record([("a", "nano", "panda", 16, 30.0)])
    usage.record([("b", "nano", "ur5e", 10, 5.0)])
    assert usage.backlog == 3
    first, second = usage.report()
    assert (first.key_id, first.requests, first.actions, first.milliseconds) == ("a", 2, 32, 50.0)
    assert (first.cost, second.cost, first.currency) == ("0.000000096", "1", "EUR")
    assert first.day == second.day == day_of(NOON_S)
    assert usage.backlog == 0
    assert usage.report("b") == [second]
    assert [(row.name, row.requests, row.actions, row.cost) for row in usage.today()] == [
        ("a", 2, 32, "0.000000096"), ("b", 1, 10, "1"),
    ]  # fmt: skip
    assert usage.report(day="2020-01-01") == []
    with pytest.raises(KinemaError, match="not a date"):
        usage.report(day="yesterday")
    usage.close()
    assert list((tmp_path / "usage").iterdir()) == []


@examples(20)
@given(data=st.data())
def test_sums_equal_events_over_deaths_and_turns(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("usage")
    store = open_store(f"sqlite:///{tmp_path / 'serve.sqlite'}")
    asked: list[int] = []
    usage = _usage(store, tmp_path, outbox=Outbox(tmp_path / "usage", size=2048))
    usage.start()
    for action in data.draw(
        st.lists(st.sampled_from(["record", "tend", "book", "die", "close"]), max_size=60)
    ):
        if action == "record":
            try:
                usage.record([("k", "m", "b", len(asked), 1.5)])
            except UsageError:
                continue  # no room before the journal is tended: refused, so not owed
            asked.append(len(asked))
        elif action == "tend":
            usage._outbox.tend()  # type: ignore[union-attr]
        elif action == "book":
            usage.report()
        else:
            usage.close() if action == "close" else _die(usage)
            usage = _usage(store, tmp_path, outbox=Outbox(tmp_path / "usage", size=2048))
            usage.start()
        assert usage.spent("k", NOON_S) == sum(asked)
    rows = usage.report()
    assert sum(row.requests for row in rows) == len(asked) == _events(store)
    assert sum(row.actions for row in rows) == sum(asked)
    _die(usage)
    store.close()


def test_a_batch_that_is_repeated_books_nothing_twice(store: Store, tmp_path: Path) -> None:
    usage = _usage(store, tmp_path)
    usage.start()
    for _ in range(12):
        usage.record([("k", "m", "b", 1, 1.0)] * 100)
    _own(usage).forget = lambda booked: None  # type: ignore[method-assign]  # booked, then killed before it was known
    usage.report()
    usage.report()
    assert _events(store) == 1200
    assert [row.requests for row in usage.report()] == [1200]
    _die(usage)
    after = _usage(store, tmp_path)
    after.start()
    assert [row.requests for row in after.report()] == [1200]
    assert after.backlog == after.spent("k", NOON_S) - 1200 == 0
    after.close()


RECORDER = """
import sys
from pathlib import Path
from kinema.serve.store import open_store
from kinema.serve.usage import Usage
folder = Path(sys.argv[1])
usage = Usage(open_store(f"sqlite:///{folder / 'serve.sqlite'}"), outbox=folder / "usage", drain_s=0.002)
usage.start()
number = 0
while True:
    usage.record([("k", "m", "b", number % 7, 1.0)])
    number += 1
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_a_kill_loses_no_acknowledged_row_and_doubles_none(tmp_path: Path) -> None:
    chance = random.Random(0)
    acknowledged, rounds = 0, 4
    for _ in range(rounds):
        process = subprocess.Popen([sys.executable, "-c", RECORDER, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        told = b"".join(process.stdout.readline() for _ in range(chance.randint(50, 300)))
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read()
        process.wait()
        process.stdout.close()
        acknowledged += told.count(b"\n")  # a last line without its end was not acknowledged
    store = open_store(f"sqlite:///{tmp_path / 'serve.sqlite'}")
    usage = _usage(store, tmp_path)
    usage.start()
    rows = usage.report()
    booked = sum(row.requests for row in rows)
    usage.close()
    assert acknowledged >= 50 * rounds
    assert acknowledged <= booked <= acknowledged + rounds  # one may be written and not yet acknowledged
    assert _events(store) == booked
    with store.reading() as connection:
        total = connection.execute(select(func.sum(events_table.c.actions))).scalar_one()
    assert total == sum(row.actions for row in rows)


def test_a_locked_database_makes_the_outbox_longer_and_nothing_else(store: Store, tmp_path: Path) -> None:
    usage = _usage(store, tmp_path)
    usage.start()
    blocker = sqlite3.connect(tmp_path / "serve.sqlite", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    for _ in range(100):
        assert usage.fault is None
        usage.record([("k", "m", "b", 2, 1.0)])
    usage._book_quietly()
    assert usage.backlog == 100
    assert usage.spent("k", NOON_S) == 200
    with pytest.raises(StoreError, match="locked"):
        usage.report()
    blocker.execute("ROLLBACK")
    blocker.close()
    assert [row.actions for row in usage.report()] == [200]
    assert usage.backlog == 0
    usage.close()


def test_a_close_with_the_database_locked_leaves_the_rows_for_the_next(store: Store, tmp_path: Path) -> None:
    usage = _usage(store, tmp_path)
    usage.start()
    usage.record([("k", "m", "b", 2, 1.0)])
    blocker = sqlite3.connect(tmp_path / "serve.sqlite", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    usage.close()
    assert "closed" in (usage.fault or "")
    with pytest.raises(UsageError, match="closed"):
        usage.record([("k", "m", "b", 2, 1.0)])
    blocker.close()
    after = _usage(store, tmp_path)
    after.start()
    assert [row.actions for row in after.report()] == [2]
    after.close()


def test_a_full_disk_refuses_new_work_before_a_row_is_lost(store: Store, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "usage", size=64 * 1024)
    usage = _usage(store, tmp_path, outbox=outbox)
    usage.start()
    # From here on not a page more: what has its place already still goes in.
    _own(usage)._connection.execute("PRAGMA max_page_count = 1")
    served = 0
    for number in range(10_000):
        if number % 20 == 0:
            outbox.tend()
        if usage.fault is not None:
            break
        assert usage.fault is None
        usage.record([("k", "m", "b", 1, 1.0)])
        served += 1
    assert 100 < served < 10_000
    assert "No space left" in (usage.fault or "")
    in_flight = 20
    for _ in range(in_flight):  # work that was begun before still finds its place
        usage.record([("k", "m", "b", 1, 1.0)])
    assert usage.fault is not None
    _own(usage)._connection.execute("PRAGMA max_page_count = 100000")
    outbox.tend()
    assert usage.fault is None
    usage.record([("k", "m", "b", 1, 1.0)])
    assert [row.requests for row in usage.report()] == [served + in_flight + 1]
    usage.close()


FULL_DISK = """
import os, sys
from pathlib import Path
from kinema.serve.outbox import Outbox
from kinema.serve.store import open_store
from kinema.serve.usage import Usage, UsageError
folder = Path(sys.argv[1])
small = folder / "small"
small.mkdir()
if os.system(f"mount -t tmpfs -o size=1m none {small}") != 0:
    sys.exit(77)
store = open_store(f"sqlite:///{folder / 'serve.sqlite'}")
usage = Usage(store, outbox=Outbox(small / "usage", size=1 << 17), drain_s=1e6)
usage.start()
(small / "filler").touch()
with (small / "filler").open("wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
served = 0
while True:  # nothing is booked meanwhile, which would make room
    usage._outbox.tend()
    if usage.fault:
        assert "No space left" in usage.fault
        break
    usage.record([("k", "m", "b", 1, 1.0)])
    served += 1
for _ in range(100):  # what was in flight
    usage.record([("k", "m", "b", 1, 1.0)])
assert "No space left" in usage.fault
assert sum(row.requests for row in usage.report()) == served + 100 > 500
(small / "filler").unlink()
usage._outbox.tend()
assert usage.fault is None
usage.record([("k", "m", "b", 1, 1.0)])
usage.close()
assert sum(row.requests for row in usage.report()) == served + 101
assert list((small / "usage").iterdir()) == []
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    if os.getuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root may mount a small disk")
    command = ["unshare", "--mount", sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("this root may not mount a small disk")
    assert done.returncode == 0, done.stderr


def test_a_row_that_has_no_room_is_refused_and_what_stood_before_stays(store: Store, tmp_path: Path) -> None:
    disk = Disk()
    usage = _usage(store, tmp_path, outbox=Outbox(tmp_path / "usage", connect=disk.connect))
    usage.start()
    usage.record([("k", "m", "b", 1, 1.0)])
    disk.full = True
    with pytest.raises(UsageError, match="No space left"):
        usage.record([("k", "m", "b", 100, 1.0)])
    assert usage.fault
    assert usage.spent("k", NOON_S) == 1
    disk.full = False
    usage._outbox.tend()  # type: ignore[union-attr]
    usage.record([("k", "m", "b", 10, 1.0)])
    assert [(row.requests, row.actions) for row in usage.report()] == [(2, 11)]
    usage.close()


def test_of_a_batch_that_does_not_fit_nothing_is_kept(store: Store, tmp_path: Path) -> None:
    usage = _usage(store, tmp_path, outbox=Outbox(tmp_path / "usage", size=64 * 1024))
    usage.start()
    _own(usage)._connection.execute("PRAGMA max_page_count = 1")
    usage.record([("k", "m", "b", 1, 1.0)])
    with pytest.raises(UsageError, match="No space left"):
        usage.record([("k", "m", "b", 100, 1.0)] * 5000)
    assert "No space left" in (usage.fault or "")
    assert usage.spent("k", NOON_S) == 1
    assert [(row.requests, row.actions) for row in usage.report()] == [(1, 1)]
    usage.close()


def test_an_outbox_that_cannot_be_made_refuses_from_the_start(store: Store, tmp_path: Path) -> None:
    disk = Disk()
    disk.full = True
    usage = _usage(store, tmp_path, outbox=Outbox(tmp_path / "usage", connect=disk.connect))
    usage.start()
    assert "No space left" in (usage.fault or "")
    assert list((tmp_path / "usage").iterdir()) == []
    usage.close()


def _as_a_kill_leaves(usage: Usage, folder: Path) -> Path:
    """A copy of the own file and its log, taken while the server runs."""
    path = _own(usage).path
    folder.mkdir(parents=True)
    shutil.copy(path, folder / path.name)
    shutil.copy(f"{path}-wal", folder / f"{path.name}-wal")
    return folder / path.name


def test_a_log_that_a_kill_tore_gives_the_whole_commits_before_it(store: Store, tmp_path: Path) -> None:
    usage = _usage(store, tmp_path)
    usage.start()
    ends = [0]
    for actions in (1, 10, 100):
        before = _as_a_kill_leaves(usage, tmp_path / f"before{actions}")
        usage.record([("k", "m", "b", actions, 1.0)])
        after = _as_a_kill_leaves(usage, tmp_path / f"after{actions}")
        old, new = (Path(f"{path}-wal").read_bytes() for path in (before, after))
        ends.append(max(n for n in range(0, len(new), 8) if new[n : n + 8] != old[n : n + 8]) + 8)
    whole = Path(f"{after}-wal").read_bytes()
    for turn, (begin, end) in enumerate(pairwise(ends)):
        for cut in {begin, (begin + end) // 2, end - 8} if turn else {end // 2}:
            folder = tmp_path / f"torn{cut}"
            torn = folder / after.name
            folder.mkdir(exist_ok=True)
            shutil.copy(after, torn)
            Path(f"{torn}-wal").write_bytes(whole[:cut] + bytes(len(whole) - cut))
            file = OutboxFile(torn, sqlite3.connect)
            assert [row.actions for row in file.read(-1, 10)[0]] == [1, 10, 100][:turn]
            file._connection.close()
    usage.close()


def test_a_damaged_row_costs_itself_only_and_the_file_is_kept(store: Store, tmp_path: Path) -> None:
    usage = _usage(store, tmp_path)
    usage.start()
    for actions in (1, 10, 100):
        usage.record([("k", "m", "b", actions, 1.0)])
    _die(usage)
    path = next((tmp_path / "usage").iterdir())
    path.write_bytes(path.read_bytes().replace(b'"b",10,', b'"b",99,'))
    after = _usage(store, tmp_path)
    after.start()
    assert [row.actions for row in after.report()] == [101]
    after.close()
    assert [path.suffix for path in (tmp_path / "usage").iterdir()] == [".damaged"]


def test_no_flipped_bit_makes_another_row_or_stops_a_server(store: Store, tmp_path: Path) -> None:
    usage = _usage(store, tmp_path)
    usage.start()
    usage.record([("k", "m", "b", 5, 1.0)])
    _die(usage)
    path = next((tmp_path / "usage").iterdir())
    data = path.read_bytes()
    at = data.index(b'"k","m"') - 40
    chance = random.Random(0)
    for place in [*range(at, at + 90, 3), *(chance.randrange(4096) for _ in range(60))]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        folder = tmp_path / f"flip{place}"
        folder.mkdir(exist_ok=True)
        (folder / path.name).write_bytes(flipped)
        outbox = Outbox(folder)
        for file in outbox.to_book():
            try:
                rows, _ = file.read(-1, 10)
            except sqlite3.Error as error:
                outbox.set_aside(file, error)
                continue
            assert [row.actions for row in rows] in ([5], [])
        outbox.close()


def test_what_is_no_outbox_stops_no_server_and_is_kept(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "usage").mkdir()
    (tmp_path / "usage" / "x.outbox").write_bytes(b"no database" * 1000)
    usage = _usage(store, tmp_path)
    usage.start()
    usage.record([("k", "m", "b", 5, 1.0)])
    assert [row.actions for row in usage.report()] == [5]
    usage.close()
    assert [path.name for path in (tmp_path / "usage").iterdir()] == ["x.outbox"]
    assert "x.outbox cannot be read and is kept" in caplog.text


def test_the_outbox_of_a_live_server_is_not_taken_over(store: Store, tmp_path: Path) -> None:
    one, other = _usage(store, tmp_path), _usage(store, tmp_path)
    one.start()
    one.record([("k", "m", "b", 1, 1.0)])
    other.start()
    assert other.report() == []
    _die(other)
    assert [row.actions for row in one.report()] == [1]
    one.record([("k", "m", "b", 10, 1.0)])
    _die(one)  # its file must still be there
    after = _usage(store, tmp_path)
    after.start()
    assert [row.actions for row in after.report()] == [11]
    after.close()


def test_two_servers_share_an_outbox_folder_and_a_database(store: Store, tmp_path: Path) -> None:
    one, other = _usage(store, tmp_path), _usage(store, tmp_path)
    one.start()
    other.start()
    for _ in range(10):
        one.record([("k", "m", "b", 1, 1.0)])
        other.record([("k", "m", "b", 2, 1.0)])
    one.report()
    assert [row.actions for row in other.report()] == [30]
    one._refreshed_s = -NEVER_S
    one._book_quietly()
    assert one.spent("k", NOON_S) == other.spent("k", NOON_S) == 30
    one.close()
    other.close()
    assert _events(store) == 20


def test_a_clock_that_is_set_back_gives_nothing_back(store: Store, tmp_path: Path) -> None:
    now = [NOON_S]
    usage = _usage(store, tmp_path, wall=lambda: now[0])
    usage.start()
    usage.record([("k", "m", "b", 5, 1.0)])
    usage.report()
    now[0] -= 3 * 86_400
    usage.record([("k", "m", "b", 7, 1.0)])
    assert usage.spent("k", now[0]) == 7
    now[0] = NOON_S
    assert usage.spent("k", now[0]) == 5
    assert [row.actions for row in usage.report()] == [5, 7]
    _die(usage)
    after = _usage(store, tmp_path, wall=lambda: now[0])
    after.start()
    assert after.spent("k", NOON_S) == 5
    assert after.spent("k", NOON_S - 3 * 86_400) == 7
    after.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_id": ""},
        {"model": "m" * 101},
        {"body": "a\0b"},
        {"body": "a\nb"},
        {"actions": -1},
        {"actions": 10**9},
        {"milliseconds": float("nan")},
        {"milliseconds": -1.0},
    ],
)
def test_what_the_database_would_refuse_never_enters_the_outbox(
    store: Store, tmp_path: Path, wrong: dict[str, object]
) -> None:
    usage = _usage(store, tmp_path)
    usage.start()
    right = {"key_id": "k", "model": "m", "body": "b", "actions": 1, "milliseconds": 1.0}
    with pytest.raises(KinemaError, match="usage: "):
        usage.record([tuple({**right, **wrong}.values())])  # type: ignore[list-item]
    assert usage.backlog == 0
    usage.close()


def test_nothing_is_admitted_before_the_start_or_after_a_thread_died(store: Store, tmp_path: Path) -> None:
    usage = _usage(store, tmp_path, drain_s=0.001)
    assert "not started" in (usage.fault or "")
    with pytest.raises(UsageError, match="not started"):
        usage.record([("k", "m", "b", 1, 1.0)])
    usage._stop.set()  # the threads end at once, as after a fault of ours
    usage.start()
    usage._thread.join()
    assert "stopped working" in (usage.fault or "")


def test_the_row_is_on_the_disk_before_record_returns(store: Store, tmp_path: Path) -> None:
    usage = _usage(store, tmp_path)
    usage.start()
    assert _own(usage)._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: each commit
    usage.record([("k", "m", "b", 5, 1.0)])
    file = OutboxFile(_as_a_kill_leaves(usage, tmp_path / "copy"), sqlite3.connect)
    assert [row.actions for row in file.read(-1, 10)[0]] == [5]
    file._connection.close()
    usage.close()


@examples(25)
@given(st.text(min_size=1, max_size=100).filter(str.isprintable), st.floats(0, 1e9))
def test_a_row_comes_back_as_it_went(name: str, milliseconds: float) -> None:
    row = _row(body=name, milliseconds=milliseconds)
    with tempfile.TemporaryDirectory() as folder:
        file = OutboxFile(Path(folder) / "x.outbox", sqlite3.connect)
        file.append([row])
        assert file.read(-1, 10) == ([row], 0)
        file.close()


def _row(**changes: object) -> Row:
    values: dict[str, object] = {
        "sequence": 0,
        "time_s": NOON_S + 0.1,
        "key_id": "k",
        "model": "nano",
        "body": "panda",
        "actions": 16,
        "milliseconds": 20.25,
        "cost_nano": 10**15,
        "currency": "EUR",
    }
    return Row(**{**values, **changes})  # type: ignore[arg-type]


def test_costs_add_up_exactly(store: Store, tmp_path: Path) -> None:
    prices = PriceTable(nano_per_action={ANY: {ANY: 100_000_001}})
    usage = _usage(store, tmp_path, prices=prices)
    usage.start()
    usage.record([("k", "m", "b", 3, 0.1)] * 999)
    assert Decimal(usage.report()[0].cost) == 999 * 3 * Decimal("0.100000001")
    usage.close()
