"""A secret opens its own key only, is kept nowhere, and stops opening it in the time that is stated."""

from __future__ import annotations

import hmac
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from kinema.cli import exit_code
from kinema.schema import KinemaError
from kinema.serve.keys import Key, Keys, digest_of
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
    assert Keys(open_store(f"sqlite:///{path}")).check(text) is None


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
        assert connection.execute(select(keys_table.c.secret_hash)).scalar_one() == digest_of(secret)


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


def test_wrong_secrets_of_unknown_and_known_ids_take_the_same_steps(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(store)
    key, secret = keys.make("arm")
    keys.check(secret)
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    of_id = {}
    for key_id in (key.id, "0" * 12):
        compared.clear()
        assert keys.check(f"kin_{key_id}_{'a' * 40}") is None
        of_id[key_id] = set(compared)
    assert of_id[key.id] == of_id["0" * 12] == {(len(digest_of("")), len(digest_of("")))}


def test_strangers_cost_no_database_each(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    keys = Keys(store, clock=clock)
    key, secret = keys.make("arm")
    assert keys.check(secret) == key
    reads = []
    real = keys._rows
    monkeypatch.setattr(keys, "_rows", lambda: reads.append(1) or real())
    for number in range(1000):
        clock.now_s += 1e-3
        assert keys.check(f"kin_{number:012x}_{'a' * 40}") is None
        assert keys.recall(secret) == key  # who is known never waits
    assert len(reads) <= 5
    new, new_secret = keys.make("leg")
    clock.now_s += 0.2
    assert keys.check(new_secret) == new  # and one made a moment ago is found


def test_keys_are_read_again_in_the_background(store: Store) -> None:
    keys = Keys(store, fresh_s=0.1)
    read = threading.Event()
    real = keys._rows
    keys._rows = lambda: (read.set(), real())[1]  # type: ignore[method-assign]
    keys.watch()
    assert read.wait(20)
    keys.close()


def test_known_keys_outlive_a_database_outage_for_the_stated_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    keys = Keys(store, fresh_s=5.0, stale_s=60.0, clock=clock)
    key, secret = keys.make("arm")
    _, unknown = keys.make("leg")
    assert keys.check(secret) == key
    reads = []

    def down() -> None:
        reads.append(1)
        raise StoreError("down")

    monkeypatch.setattr(keys, "_rows", down)
    for _ in range(59):
        clock.now_s += 1.0
        assert keys.check(secret) == key
    assert len(reads) == 11  # asked again every fresh_s, not with every request
    clock.now_s += 1.0
    with pytest.raises(StoreError):
        keys.check(secret)
    with pytest.raises(StoreError):
        keys.check(unknown)


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
    for url in (
        "postgresql:/admin:hunter2@db/x",
        "x:hunter2@",
        "hunter2@db",
        "postgresql://a:hunter2/@h:x/d",
    ):
        with pytest.raises(StoreError) as refused:
            open_store(url)
        assert "hunter2" not in str(refused.value)
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
    out = tmp_path / "arm.key"
    assert exit_code(["keys", "make", "arm", "--rate", "0", "--out", str(out)]) == 2
    assert not out.exists()
    assert exit_code(["keys", "make", "arm", "--out", str(out)]) == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert Keys(open_store()).check(out.read_text().strip()) is not None
    assert exit_code(["keys", "make", "leg", "--out", str(out)]) == 2  # nothing is overwritten
    assert [key.name for key in keys.list() if key.revoked_s is None] == ["arm"]
    assert os.listdir(tmp_path / "home")
