"""Keys, limits and metering in a server that listens: what a client got is booked, whatever happens to it."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import patient
import pytest
from browser import Browser
from test_auth import with_keys
from toy import PANDA, Running, ToyPolicy, observation, running, toy_served

from kinema.runtime.client import RemotePolicy, ServerError
from kinema.schema import KinemaError, Verdict
from kinema.serve.app import Accounts, Listening, make_app
from kinema.serve.keys import Keys
from kinema.serve.outbox import Outbox
from kinema.serve.store import Store, open_store
from kinema.serve.usage import Usage

CHUNK = 4  # of the toy policy


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'serve.sqlite'}")
    yield store
    store.close()


def _server(accounts: Accounts, policy: ToyPolicy | None = None) -> AbstractContextManager[Running]:
    listening = Listening(port=0, needs_key=True)
    return running(make_app(toy_served(policy), listening=listening, accounts=accounts), listening)


def _ask(server: Running, secret: str, times: int = 1) -> None:
    policy = RemotePolicy(server.ws, api_key=secret, timeout_s=20.0)
    for number in range(times):
        policy.infer(observation(PANDA, seed=number), "panda")
    policy.close()


def test_a_revoked_key_is_refused_on_a_connection_that_is_open(store: Store, tmp_path: Path) -> None:
    keys = Keys(store, fresh_s=0.0)
    _, secret = keys.make("arm")
    with _server(Accounts(keys=keys, usage=Usage(store, outbox=tmp_path / "outbox"))) as server:
        policy = RemotePolicy(server.ws, api_key=secret, timeout_s=20.0)
        policy.infer(observation(PANDA), "panda")
        keys.revoke("arm")
        with pytest.raises(ServerError) as refused:
            policy.infer(observation(PANDA), "panda")
        assert refused.value.code == "unauthorised"
        policy.close()


def test_strangers_do_not_hold_up_who_is_known(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even while the database keeps strangers waiting."""
    keys = Keys(store)
    _, secret = keys.make("arm")
    strange = {"Authorization": f"Bearer kin_{'0' * 12}_{'a' * 40}"}
    with _server(Accounts(keys=keys, usage=Usage(store, outbox=tmp_path / "outbox"))) as server:
        _ask(server, secret)
        database_answers, asked = threading.Event(), threading.Event()
        real = keys._rows

        def slow() -> Any:
            asked.set()
            assert database_answers.wait(20)
            return real()

        monkeypatch.setattr(keys, "_rows", slow)
        told: list[int] = []

        def knock() -> None:
            told.append(patient.get(f"{server.http}/v1/robots", headers=strange).status_code)

        strangers = [threading.Thread(target=knock) for _ in range(5)]
        for stranger in strangers:
            stranger.start()
        assert asked.wait(20)
        _ask(server, secret, times=3)  # the database still answers nobody
        assert not database_answers.is_set()
        database_answers.set()
        for stranger in strangers:
            stranger.join()
        assert told == [401] * 5


def test_a_quota_holds_over_many_connections_and_is_booked(store: Store, tmp_path: Path) -> None:
    keys, usage = Keys(store), Usage(store, outbox=tmp_path / "outbox")
    chunk = PANDA.chunk
    _, secret = keys.make("arm", quota_per_day=3 * chunk)
    answered: list[int] = []
    refused: list[ServerError] = []

    def ask(server: Running) -> None:
        for number in range(6):
            try:
                _ask(server, secret)
                answered.append(number)
            except ServerError as error:
                refused.append(error)

    with _server(Accounts(keys=keys, usage=usage), ToyPolicy(sleep_s=0.01)) as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {error.code for error in refused} == {"rate_limited"}
    assert all(error.retry_after_s for error in refused)
    (row,) = usage.report()
    assert row.requests == len(answered)
    assert row.actions == len(answered) * CHUNK <= 3 * chunk
    assert row.actions > 2 * chunk - CHUNK * 4


def test_a_full_disk_answers_503_and_the_policy_is_not_asked(store: Store, tmp_path: Path) -> None:
    full = [False]

    class Disk(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if full[0] and sql.startswith("BEGIN"):
                raise sqlite3.OperationalError("No space left on device")
            return super().execute(sql, *values)

    keys, policy = Keys(store), ToyPolicy()
    usage = Usage(store, outbox=Outbox(tmp_path / "outbox", connect=partial(sqlite3.connect, factory=Disk)))
    _, secret = keys.make("arm")
    with _server(Accounts(keys=keys, usage=usage), policy) as server:
        _ask(server, secret, times=3)
        full[0] = True
        for _ in range(3):  # the first is worked out, cannot be written down and is not delivered
            with pytest.raises(ServerError) as refused:
                _ask(server, secret)
            assert (refused.value.code, refused.value.retry_after_s) == ("metering_failed", 1.0)
        assert sum(policy.batches) <= 4
        headers = {"Authorization": f"Bearer {secret}"}
        (row,) = patient.get(f"{server.http}/v1/usage", headers=headers).json()
        assert row["requests"] == 3
        full[0] = False
        end_s = time.monotonic() + 10
        while usage.fault is not None:
            assert time.monotonic() < end_s
            time.sleep(0.02)
        _ask(server, secret)
        (row,) = patient.get(f"{server.http}/v1/usage", headers=headers).json()
        assert row["requests"] == 4


def test_a_server_that_is_killed_has_booked_what_its_clients_got(tmp_path: Path) -> None:
    environment = {**os.environ, "KINEMA_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    environment.pop("KINEMA_DATABASE", None)
    store = open_store(f"sqlite:///{tmp_path / 'serve.sqlite'}")
    _, secret = Keys(store).make("arm")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "import kinema.cli; kinema.cli.main()", "serve", "hold", "--keys"]
    process = subprocess.Popen([*command, "--port", str(port)], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert b"kinema serves" in process.stdout.readline()
    answers: list[int] = []
    clients = [threading.Thread(target=_ask_until_gone, args=(port, secret, answers)) for _ in range(3)]
    for client in clients:
        client.start()
    while len(answers) < 100:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for client in clients:
        client.join()
    usage = Usage(store, outbox=tmp_path / "usage")
    usage.start()
    rows = usage.report()
    usage.close()
    store.close()
    booked = sum(row.requests for row in rows)
    assert len(answers) <= booked <= len(answers) + len(clients)  # each may have had one on its way
    assert sum(row.actions for row in rows) == booked * PANDA.chunk


def _ask_until_gone(port: int, secret: str, answers: list[int]) -> None:
    policy = RemotePolicy(f"ws://127.0.0.1:{port}", api_key=secret, timeout_s=20.0)
    while True:
        try:
            policy.infer(observation(PANDA), "panda")
        except KinemaError:
            return
        answers.append(1)


def test_the_console_of_a_real_server_shows_what_it_just_did(tmp_path: Path) -> None:
    browser = Browser(tmp_path / "chromium")
    stop = Verdict(
        allowed=False,
        risk={"collision": 0.4},
        limit={"collision": 0.1},
        horizon_s=1.0,
        reason="collision with the table in 0.4 s",
    )
    try:
        with with_keys(tmp_path, ToyPolicy(verdict=stop), quota_per_day=1000) as (server, secret):
            _ask(server, secret, times=5)
            browser.open(server.http + "/console")
            browser.wait_for("!document.querySelector('#door').hidden")
            browser.run(f"document.querySelector('#secret').value = '{secret}'")
            browser.run("document.querySelector('button').click()")
            browser.wait_for("document.querySelectorAll('#requests tbody tr').length == 5")
            text = browser.text()
            for told in (
                "ok",
                "toy",
                "panda",
                "stream",
                "collision with the table in 0.4 s",
                "100.0 %",
                "test",
            ):
                assert told in text
            browser.wait_for("document.querySelectorAll('#usage tbody tr').length == 1")
            assert [line for line in browser.complaints if "401" not in line] == []
    finally:
        browser.close()
