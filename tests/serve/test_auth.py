"""Who may come in: keys before the upgrade, this machine only without keys, nothing open by accident."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import patient
import pytest
from starlette.testclient import TestClient
from toy import Running, running, toy_served
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from kinema.schema import KinemaError
from kinema.serve.app import FORCE_FLAG, Accounts, Listening, make_app
from kinema.serve.keys import Keys
from kinema.serve.limits import Limits
from kinema.serve.store import open_store
from kinema.serve.usage import Usage

ROUTES = ("/v1/robots", "/v1/models", "/v1/usage", "/metrics")


@contextmanager
def with_keys(
    folder: Path, policy: Any = None, limits: Limits | None = None, **key: Any
) -> Iterator[tuple[Running, str]]:
    """A server that asks for keys, and the secret of one."""
    store = open_store(f"sqlite:///{folder / 'serve.sqlite'}")
    accounts = Accounts(keys=Keys(store), usage=Usage(store, outbox=folder / "outbox"))
    _, secret = accounts.keys.make("test", **key)
    listening = Listening(port=0, needs_key=True)
    app = make_app(toy_served(policy), listening=listening, accounts=accounts, limits=limits)
    with running(app, listening) as server:
        server.accounts = accounts
        yield server, secret
    store.close()


def test_without_a_key_nothing_but_health_is_told(tmp_path: Path) -> None:
    with with_keys(tmp_path) as (server, secret):
        for headers in ({}, {"Authorization": "Api-Key kin_x_y"}, {"Authorization": "Basic YTpi"}):
            for route in ROUTES:
                answer = patient.get(server.http + route, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthorised")
            assert patient.post(server.http + "/v1/act", headers=headers, content=b"x").status_code in (401,)
            for path in ("/", "/v1/stream"):
                with pytest.raises(InvalidStatus) as refused:  # no websocket was opened
                    connect(server.ws + path, additional_headers=headers)
                assert refused.value.response.status_code == 401
        assert patient.get(server.http + "/healthz").text == "OK\n"
        for scheme in ("Api-Key", "Bearer", "api-key"):
            headers = {"Authorization": f"{scheme} {secret}"}
            assert all(patient.get(server.http + route, headers=headers).is_success for route in ROUTES)


def test_the_key_is_asked_before_the_body_is_read(tmp_path: Path) -> None:
    with with_keys(tmp_path) as (server, _), server.connect_raw() as raw:
        head = b"POST /v1/act HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        raw.sendall(head + b"Content-Length: 999\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 401")


def test_a_revoked_key_is_shut_out(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'serve.sqlite'}")
    keys = Keys(store, fresh_s=0.0)
    accounts = Accounts(keys=keys, usage=Usage(store, outbox=tmp_path / "outbox"))
    _, secret = keys.make("test")
    listening = Listening(port=0, needs_key=True)
    with running(make_app(toy_served(), listening=listening, accounts=accounts), listening) as server:
        headers = {"Authorization": f"Api-Key {secret}"}
        assert patient.get(server.http + "/v1/robots", headers=headers).is_success
        keys.revoke("test")
        assert patient.get(server.http + "/v1/robots", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Origin": "https://evil.example"},
     {"Origin": "null"}, {"Host": ""}, {"Origin": "http://["}],
    ids=str,
)  # fmt: skip
def test_a_page_in_a_browser_cannot_move_the_robot(headers: dict[str, str]) -> None:
    with running() as server:
        assert patient.get(server.http + "/v1/robots", headers=headers).status_code == 403
        if "Origin" in headers:
            with pytest.raises(InvalidStatus) as refused:
                connect(server.ws, additional_headers=headers)
            assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (None, "robot.lab:8000", 200),  # no page: a program
        ("http://evil.example", "10.0.0.5:8000", 403),
        ("http://evil.example", "evil.example", 403),  # a name that its owner pointed here
        ("null", "10.0.0.5:8000", 403),
        ("http://10.0.0.6:8000", "10.0.0.5:8000", 403),
        ("http://10.0.0.5:8000", "10.0.0.5:8000", 200),  # the console's own page
        ("http://localhost:8000", "10.0.0.5:8000", 200),
    ],
)
def test_forced_beyond_this_machine_foreign_pages_stay_out(
    origin: str | None, host: str, status: int
) -> None:
    listening = Listening(host="0.0.0.0", port=0, forced=True)
    headers = {"Host": host} | ({"Origin": origin} if origin else {})
    with TestClient(make_app(toy_served(), listening=listening)) as client:
        assert client.get("/v1/robots", headers=headers).status_code == status


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_needs_no_key(host: str) -> None:
    assert Listening(host=host).is_local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.2", "robots.example", "1270.0.0.1", ""])
def test_beyond_this_machine_key_and_tls_are_needed(host: str, tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("")
    tls = {"tls_cert": pem, "tls_key": pem}
    for half in ({}, {"needs_key": True}, tls):
        with pytest.raises(KinemaError, match=FORCE_FLAG):
            Listening(host=host, **half)
        assert Listening(host=host, forced=True, **half)
    assert Listening(host=host, needs_key=True, **tls)


def test_tls_needs_both_files(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match="--tls-key"):
        Listening(tls_cert=tmp_path)
    with pytest.raises(KinemaError, match="no file"):
        Listening(tls_cert=tmp_path / "a", tls_key=tmp_path / "b")
