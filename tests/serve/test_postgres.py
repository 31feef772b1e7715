"""The same laws on PostgreSQL: a throw-away cluster, started here on a socket in a temporary folder.

Needs the server's programs (Debian: the package `postgresql`) and their Python driver; skips where either is
missing. PostgreSQL refuses to run as root, so as root it runs as `postgres` or `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, text

from kinema.schema import KinemaError
from kinema.serve.booking import day_of, prune_rows
from kinema.serve.keys import Keys
from kinema.serve.store import (
    SCHEMA_VERSION,
    Store,
    StoreError,
    days_table,
    events_table,
    keys_table,
    metadata,
    open_store,
    schema_table,
)
from kinema.serve.usage import DAY_S, Usage

NEVER_S = 1e6


class Cluster:
    """One PostgreSQL in a folder of its own; `start` and `kill` as often as a test likes."""

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        self.programs, self.folder, self.user = programs, folder, user
        self.url = f"postgresql://kinema@/postgres?host={folder}"

    def run(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = (str(self.programs / program), *arguments)
        if self.user is not None:
            group = str(pwd.getpwnam(self.user).pw_gid)
            command = ("setpriv", "--reuid", self.user, "--regid", group, "--clear-groups", *command)
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def make(self) -> None:
        self.run("initdb", "-D", self.data, "-U", "kinema", "--auth=trust", "--encoding=UTF8", "--no-sync")
        self.start()

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=30"
        self.run("pg_ctl", "-D", self.data, "-w", "-o", options, "-l", f"{self.folder}/log", "start")

    def kill(self) -> None:
        """As the machine would: no good-bye to its clients."""
        pid = int((Path(self.data) / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        while Path(f"/proc/{pid}").exists() and not _is_zombie(pid):
            time.sleep(0.01)
        (Path(self.data) / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    @property
    def data(self) -> str:
        return str(self.folder / "data")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("psycopg")
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="kpg", dir="/tmp"))  # a socket's path has at most 107 characters
    user = _user(folder)
    cluster = Cluster(programs, folder, user)
    cluster.make()
    yield cluster
    cluster.stop()
    shutil.rmtree(folder)


def _programs() -> Path:
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    places = [place for place in places if (place / "initdb").exists() and (place / "pg_ctl").exists()]
    if not places:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    return places[-1]


def _user(folder: Path) -> str | None:
    """Whom to run as, and the folder given to that user; None where we are not root."""
    if os.getuid() != 0:
        return None
    if shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to run it as another user")
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            shutil.chown(folder, name)
            return name
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _is_zombie(pid: int) -> bool:
    return "(postgres) Z" in Path(f"/proc/{pid}/stat").read_text()


@pytest.fixture
def store(cluster: Cluster) -> Iterator[Store]:
    store = open_store(cluster.url, busy_s=0.5)
    with store.writing() as connection:
        for table in (keys_table, events_table, days_table):
            connection.execute(delete(table))
    yield store
    store.close()


def _usage(store: Store, folder: Path) -> Usage:
    usage = Usage(store, outbox=folder, drain_s=NEVER_S)
    usage.start()
    return usage


def test_keys_are_made_checked_listed_and_revoked(store: Store) -> None:
    keys = Keys(store)
    key, secret = keys.make("Arm im Labor, 機械", rate_hz=2.5, quota_per_day=2**40, admin=True)
    assert Keys(store).check(secret) == key
    assert keys.list() == (key,)
    with pytest.raises(KinemaError, match="is in use"):
        keys.make(key.name)
    keys.revoke(key.name)
    assert Keys(store).check(secret) is None
    keys.make(key.name)


def test_servers_that_start_together_lay_the_database_out_once(cluster: Cluster, store: Store) -> None:
    with store.writing() as connection:
        metadata.drop_all(connection)
    failed: list[BaseException] = []

    def start() -> None:
        try:
            open_store(cluster.url).close()
        except KinemaError as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with store.reading() as connection:
        assert connection.execute(select(schema_table.c.version)).scalars().all() == [SCHEMA_VERSION]


def test_usage_is_booked_once_and_summed_up(store: Store, tmp_path: Path) -> None:
    usage, used = _usage(store, tmp_path / "usage"), []
    for number in range(1100):
        used.append(("k", "nano", ("panda", "ur5e")[number % 2], 16, 2.5))
    usage.record(used)
    (file,) = usage._outbox.to_book()  # type: ignore[union-attr]
    file.forget = lambda booked: None  # type: ignore[method-assign]
    usage.report()
    rows = usage.report()  # the same batches once more, as after a crash
    assert [(row.body, row.requests, row.actions) for row in rows] == [
        ("panda", 550, 8800),
        ("ur5e", 550, 8800),
    ]
    assert _events(store) == 1100
    (today,) = usage.today()
    assert (today.name, today.requests, today.actions, today.cost) == ("k", 1100, 17_600, "0")
    usage.close()


def test_old_rows_go_in_batches_and_the_sums_stay(store: Store, tmp_path: Path) -> None:
    usage = _usage(store, tmp_path / "usage")
    for _ in range(30):
        usage.record([("k", "m", "b", 1, 1.0)])
    before = usage.report()
    with store.writing() as connection:
        assert prune_rows(connection, day_of(time.time() - DAY_S), 20) == 0
    deleted = []
    for _ in range(3):
        with store.writing() as connection:
            deleted.append(prune_rows(connection, day_of(time.time() + 2 * DAY_S), 20))
    assert deleted == [20, 9, 0]  # the newest of the segment stays
    assert usage.report() == before
    usage.close()


def test_servers_book_at_the_same_time(cluster: Cluster, store: Store, tmp_path: Path) -> None:
    def serve(number: int) -> None:
        own = open_store(cluster.url)
        usage = _usage(own, tmp_path / f"usage{number}")
        for i in range(300):
            usage.record([(f"k{i % 3}", "m", ("a", "b")[(i + number) % 2], 1, 1.0)])
            if i % 20 == 0:
                usage.report()
        usage.close()
        own.close()

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    usage = _usage(store, tmp_path / "usage")
    assert sum(row.actions for row in usage.report()) == _events(store) == 1200
    usage.close()


def test_a_locked_table_ends_in_time_and_loses_nothing(
    store: Store, cluster: Cluster, tmp_path: Path
) -> None:
    usage = _usage(store, tmp_path / "usage")
    blocker = open_store(cluster.url)
    with blocker.writing() as connection:
        connection.execute(text(f"LOCK TABLE {days_table.name} IN ACCESS EXCLUSIVE MODE"))
        usage.record([("k", "m", "b", 3, 1.0)])
        with pytest.raises(StoreError, match="lock timeout"):  # else it would wait for ever
            usage.report()
    blocker.close()
    assert [row.actions for row in usage.report()] == [3]
    usage.close()


def test_a_database_that_dies_and_comes_back_loses_nothing(
    store: Store, cluster: Cluster, tmp_path: Path
) -> None:
    keys, usage = Keys(store, fresh_s=0.0), _usage(store, tmp_path / "usage")
    key, secret = keys.make("arm")
    assert keys.check(secret) == key
    usage.record([(key.id, "m", "b", 1, 1.0)])
    usage.report()
    cluster.kill()
    assert usage.fault is None
    usage.record([(key.id, "m", "b", 10, 1.0)])
    usage._book_quietly()
    assert usage.spent(key.id, time.time()) == 11
    assert keys.check(secret) == key  # known before: goes on
    with pytest.raises(StoreError):
        Keys(store).check(secret)
    cluster.start()
    assert [row.actions for row in usage.report()] == [11]
    assert Keys(store).check(secret) == key
    usage.close()


def test_errors_never_show_a_password(cluster: Cluster) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(f"postgresql://kinema:geheim@/nowhere?host={cluster.folder}")
    assert "geheim" not in str(caught.value)
    assert "nowhere" in str(caught.value)


def _events(store: Store) -> int:
    with store.reading() as connection:
        return connection.execute(select(func.count()).select_from(events_table)).scalar_one()
