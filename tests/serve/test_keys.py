"""A secret opens its own key only, is kept nowhere, and stops opening it in the time that is stated."""

from __future__ import annotations

import os
import sqlite3
import stat
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from kinema.cli import exit_code
from kinema.schema import KinemaError
from kinema.serve import keys as keys_module
from kinema.serve.keys import Key, Keys, KeysBusyError
from kinema.serve.store import SCHEMA_VERSION, Store, StoreError, keys_table, open_store, schema_table


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'state' / 'serve.sqlite'}", busy_s=0.05)
    yield store
    store.close()


def test_a_secret_opens_its_key_and_no_other(store: Store) -> None:
    keys = Keys(store)
    one, secret = keys.make("arm", rate_hz=5.0, quota_per_day=1000)
    other, other_secret = keys.make("leg", admin=True)
    assert keys.check(secret) == one
    assert keys.check(other_secret) == other
    assert keys.list() == (one, other)
    mixed = "_".join([*other_secret.split("_")[:2], secret.split("_")[2]])
    for wrong in (
        mixed,
        secret[:-1],
        secret + "x",
        secret.upper(),
        "",
        "kin_",
        "\ud800",
        f"{secret}\n",
        " " + secret,
    ):
        assert keys.check(wrong) is None
        assert keys.recall(wrong) is None


@given(st.text())
def test_no_other_text_opens_anything(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "texts.sqlite"
    keys = Keys.__new__(Keys)  # without its hash of nothing, which takes 50 ms: no argon2 may be asked here
    keys._store = open_store(f"sqlite:///{path}")
    assert keys.check(text) is None


def test_the_secret_is_kept_nowhere(store: Store, tmp_path: Path) -> None:
    keys = Keys(store)
    _, secret = keys.make("arm")
    keys.check(secret)
    random = secret.split("_")[2]
    store.close()
    for path in (tmp_path / "state").iterdir():
        assert random.encode() not in path.read_bytes()
    assert random not in repr(vars(keys))
    with store.reading() as connection:
        assert connection.execute(select(keys_table.c.secret_hash)).scalar_one().startswith("$argon2id$")


def test_the_database_is_for_its_owner_only(store: Store, tmp_path: Path) -> None:
    Keys(store).make("arm")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()} == {0o600}


def test_a_revoked_key_is_out_within_the_stated_time_in_every_server(store: Store) -> None:
    clock = Clock()
    server, command = Keys(store, fresh_s=5.0, clock=clock), Keys(store)
    key, secret = command.make("arm")
    assert server.check(secret) == key
    clock.now_s += 3.0
    command.revoke("arm")
    clock.now_s += 1.9
    assert server.recall(secret) == key  # 4.9 s after its row was read
    clock.now_s += 0.1
    assert server.recall(secret) is None
    assert server.check(secret) is None
    assert command.check(secret) is None  # its own process forgets at once
    assert Keys(store).check(secret) is None
    assert [k.revoked_s is not None for k in command.list()] == [True]


def test_a_changed_limit_arrives_with_the_next_look(store: Store) -> None:
    clock = Clock()
    keys = Keys(store, clock=clock)
    _, secret = keys.make("arm", quota_per_day=10)
    keys.check(secret)
    with store.writing() as connection:
        connection.execute(update(keys_table).values(quota_per_day=20))
    clock.now_s += 5.0
    found = keys.check(secret)
    assert found is not None
    assert found.quota_per_day == 20
    assert keys.recall(secret) == found


def test_argon2_is_paid_once_and_for_unknown_ids_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    keys = Keys(store, clock=clock, verified_s=600.0)
    key, secret = keys.make("arm")
    asked: list[str] = []
    real = PasswordHasher.verify

    def verify(self: PasswordHasher, hashed: str, password: str) -> bool:
        asked.append(hashed)
        return bool(real(self, hashed, password))

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    for _ in range(50):
        assert keys.check(secret) == key
        clock.now_s += 6.0
    assert len(asked) == 1
    clock.now_s += 600.0
    assert keys.check(secret) == key
    assert len(asked) == 2
    assert keys.check(f"kin_{'0' * 12}_{'a' * 40}") is None
    assert len(asked) == 3
    assert asked[-1].split("$")[:4] == asked[0].split("$")[:4]  # the same cost


def test_unknown_and_known_ids_take_the_same_time(store: Store) -> None:
    keys = Keys(store)
    key, _ = keys.make("arm")
    took: dict[str, list[float]] = {key.id: [], "0" * 12: []}
    for _ in range(9):
        for key_id, times in took.items():
            began_s = time.perf_counter()
            assert keys.check(f"kin_{key_id}_{'a' * 40}") is None
            times.append(time.perf_counter() - began_s)
    known_s, unknown_s = (statistics.median(times) for times in took.values())
    assert 0.5 < known_s / unknown_s < 2.0  # without the hash of nothing it is more than 20


def test_many_unknown_secrets_do_not_take_every_core(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(store)
    key, secret = keys.make("arm")
    assert keys.check(secret) == key
    monkeypatch.setattr(keys_module, "VERIFY_WAIT_S", 0.01)
    release, inside = threading.Event(), threading.Semaphore(0)

    def slow(*_: object) -> bool:
        inside.release()
        return release.wait(10)

    monkeypatch.setattr(PasswordHasher, "verify", slow)
    unknown = f"kin_{'0' * 12}_{'a' * 40}"
    guesses = [threading.Thread(target=keys.check, args=(unknown,)) for _ in range(2)]
    for guess in guesses:
        guess.start()
    for _ in guesses:
        inside.acquire()
    with pytest.raises(KeysBusyError):
        keys.check(unknown)
    assert keys.check(secret) == key  # who is known already goes on
    release.set()
    for guess in guesses:
        guess.join()


def test_known_keys_outlive_a_database_outage_for_the_stated_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    keys = Keys(store, fresh_s=5.0, stale_s=60.0, clock=clock)
    key, secret = keys.make("arm")
    _, unknown = keys.make("leg")
    assert keys.check(secret) == key
    reads = []

    def down(key_id: str) -> None:
        reads.append(key_id)
        raise StoreError("down")

    monkeypatch.setattr(keys, "_row", down)
    for _ in range(59):
        clock.now_s += 1.0
        assert keys.check(secret) == key
    assert len(reads) == 11  # asked again every fresh_s, not with every request
    clock.now_s += 1.0
    with pytest.raises(StoreError):
        keys.check(secret)
    with pytest.raises(StoreError):
        keys.check(unknown)


def test_what_is_remembered_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "MAX_REMEMBERED", 2)
    keys = Keys(store)
    made = [keys.make(f"key {i}")[1] for i in range(3)]
    assert all(keys.check(secret) for secret in made)
    assert [keys.recall(secret) is not None for secret in made] == [False, True, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " arm"},
        {"name": "a\nb"},
        {"name": "a" * 101},
        {"rate_hz": 0.0},
        {"rate_hz": float("nan")},
        {"rate_hz": float("inf")},
        {"quota_per_day": -1},
    ],
)
def test_limits_out_of_range_are_refused(store: Store, wrong: dict[str, object]) -> None:
    keys = Keys(store)
    with pytest.raises(KinemaError, match="a key's"):
        keys.make(**{"name": "arm", **wrong})  # type: ignore[arg-type]
    assert keys.list() == ()


def test_a_name_means_one_key_in_use(store: Store) -> None:
    keys = Keys(store)
    first, _ = keys.make("arm")
    with pytest.raises(KinemaError, match="'arm' is in use"):
        keys.make("arm")
    with pytest.raises(KinemaError, match="keys in use: arm"):
        keys.revoke("leg")
    assert keys.revoke(first.id).name == "arm"
    with pytest.raises(KinemaError, match="keys in use: none"):
        keys.revoke("arm")
    second, _ = keys.make("arm")
    assert keys.revoke("arm").id == second.id


def test_a_database_of_another_version_or_kind_is_refused(store: Store, tmp_path: Path) -> None:
    with store.writing() as connection:
        connection.execute(update(schema_table).values(version=SCHEMA_VERSION + 1))
    with pytest.raises(StoreError, match=f"schema version {SCHEMA_VERSION + 1}"):
        open_store(store.name)
    for url, told in [
        ("mysql://h/d", "choices: sqlite, postgresql"),
        ("nonsense", "is no URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:////proc/none/x", "database /proc/none"),
    ]:
        with pytest.raises(StoreError, match=told):
            open_store(url)
    (tmp_path / "text.sqlite").write_text("this is no database, it is a text that is long enough" * 20)
    with pytest.raises(StoreError, match="not a database"):
        open_store(f"sqlite:///{tmp_path / 'text.sqlite'}")


def test_servers_that_start_together_lay_the_database_out_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'serve.sqlite'}"
    failed: list[BaseException] = []

    def start() -> None:
        try:
            open_store(url).close()
        except KinemaError as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with open_store(url).reading() as connection:
        assert connection.execute(select(schema_table.c.version)).scalars().all() == [SCHEMA_VERSION]


def test_what_is_written_is_written_whole_or_not_at_all(store: Store) -> None:
    row = {"secret_hash": "h", "admin": False, "made_s": 0.0}

    def write_twice() -> None:
        with store.writing() as connection:
            for name in ("n", "m"):
                connection.execute(insert(keys_table).values(id="a", name=name, **row))

    with pytest.raises(StoreError, match="UNIQUE"):
        write_twice()
    assert Keys(store).list() == ()


def test_a_reader_does_not_wait_for_a_writer(store: Store, tmp_path: Path) -> None:
    keys = Keys(store)
    key, secret = keys.make("arm")
    writer = sqlite3.connect(tmp_path / "state" / "serve.sqlite", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert Keys(store).check(secret) == key
    writer.close()


def test_the_commands_make_list_and_revoke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KINEMA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KINEMA_DATABASE", raising=False)
    assert exit_code(["keys", "make", "arm", "--rate", "5", "--quota", "1000"]) == 0
    secret = capsys.readouterr().out.strip()  # the secret alone, so that a script can take it
    keys = Keys(open_store())
    key = keys.check(secret)
    assert isinstance(key, Key)
    assert (key.name, key.rate_hz, key.quota_per_day, key.admin) == ("arm", 5.0, 1000, False)
    assert exit_code(["keys", "list"]) == 0
    told = capsys.readouterr().out
    assert "arm" in told
    assert key.id in told
    assert secret.split("_")[2] not in told
    assert exit_code(["keys", "revoke", "arm"]) == 0
    assert Keys(open_store()).check(secret) is None
    capsys.readouterr()
    assert exit_code(["keys", "revoke", "arm"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert exit_code(["keys", "make", "arm", "--rate", "0"]) == 2
    assert os.listdir(tmp_path / "home")
