"""What a server says of itself is so: health, robots, refusals, documents."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import patient
import pytest
from test_auth import with_keys
from test_service import Gated
from toy import PANDA, ToyPolicy, observation, running, toy_served
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from kinema.runtime.client import RemotePolicy
from kinema.runtime.messages import PATH, infer_message
from kinema.runtime.wire import pack, unpack
from kinema.schema import Question, Verdict
from kinema.serve.app import make_app
from kinema.serve.gateway import Asker
from kinema.serve.keys import LOCAL
from kinema.serve.refusal import STATUS, Refusal
from kinema.serve.service import Service
from kinema.serve.store import StoreError


def test_a_policy_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Gated()
    with running(make_app(toy_served(policy))) as server, connect(server.ws + PATH, compression=None) as one:
        one.recv()
        question = Question(observation=observation(PANDA, px=16), card="panda", noise_seed=0)
        one.send(pack(infer_message(1, question, None)))
        policy.entered.acquire()
        assert patient.get(server.http + "/healthz").text == "OK\n"  # it may take as long as an answer may
        monkeypatch.setattr(Service, "busy_s", property(lambda self: self.queueing.deadline_s + 7.0))
        told = patient.get(server.http + "/healthz")
        assert (told.status_code, told.text) == (503, "the policy has been at one batch for 12 s\n")
        health = patient.get(server.http + "/console/data").json()["health"]
        assert (health["state"], health["reasons"]) == ("refusing", [told.text.strip()])
        monkeypatch.undo()
        policy.gate.set()
        assert unpack(one.recv(timeout=20))["type"] == "chunk"
        assert patient.get(server.http + "/healthz").text == "OK\n"


class _Message(bytearray):
    """Large, and seen when it is gone."""


@pytest.mark.parametrize("code", STATUS)
def test_what_is_remembered_of_a_refusal_does_not_keep_the_message(code: str) -> None:
    gateway = make_app(toy_served()).state.gateway
    seen = []

    def read(message: _Message) -> None:
        raise Refusal(code, f"{len(message)} bytes are too many")

    gc.disable()  # a cycle would keep it until a collection, which a quiet server puts off
    try:
        for size in range(3):
            message = _Message(size)
            seen.append(weakref.ref(message))
            try:
                read(message)
            except Refusal as refusal:
                gateway.record_refusal("stream", refusal, Asker(key=LOCAL, name="one", address="here"))
            del message
        assert [ref() for ref in seen] == [None] * 3
    finally:
        gc.enable()
    assert next(row.reason for row in gateway.activity.refusals()) == "2 bytes are too many"


def test_a_batch_has_an_age() -> None:
    now, policy = [100.0], Gated()
    made = Service(toy_served(policy), clock=lambda: now[0])
    assert made.busy_s == 0.0
    made._began_s = 90.0
    assert made.busy_s == 10.0


def test_metering_that_is_behind_or_broken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with with_keys(tmp_path, admin=True) as (server, secret):
        usage, headers = server.accounts.usage, {"Authorization": f"Api-Key {secret}"}

        def down() -> None:
            raise StoreError("database is locked")

        monkeypatch.setattr(usage, "_book_all", down)
        usage._book_quietly()
        told = patient.get(server.http + "/healthz")
        assert (told.status_code, "locked" in told.text) == (200, True)  # questions are still answered
        assert (
            patient.get(server.http + "/console/data", headers=headers).json()["health"]["state"]
            == "degraded"
        )
        monkeypatch.undo()
        usage._book_quietly()
        assert patient.get(server.http + "/healthz").text == "OK\n"
        monkeypatch.setattr(type(usage), "fault", property(lambda _: "No space left on device"))
        told = patient.get(server.http + "/healthz")
        assert (told.status_code, told.text) == (503, "No space left on device\n")


def test_the_console_lists_robots_with_their_mode_and_refusals_with_their_reason(tmp_path: Path) -> None:
    verdict = Verdict(allowed=False, risk={}, limit={}, horizon_s=1.0, reason="it would fall")
    policy = ToyPolicy(verdict=verdict)
    with with_keys(tmp_path, policy, admin=True) as (server, secret):
        _, guest = server.accounts.keys.make("guest")
        headers = {"Authorization": f"Api-Key {secret}"}

        def data(**change: Any) -> dict[str, Any]:
            return patient.get(server.http + "/console/data", headers=headers | change).json()

        with RemotePolicy(server.ws, api_key=guest, timeout_s=20.0) as robot:
            robot.mode = "holding"
            robot.infer(observation(PANDA, px=16), "panda")
            (row,) = data()["robots"]
            assert (row["key_name"], row["body"], row["mode"]) == ("guest", "panda", "holding")
            assert (row["last"], row["route"], row["address"]) == (
                "gate: it would fall",
                "stream",
                "127.0.0.1",
            )
            policy.verdict = None
            robot.infer(observation(PANDA, px=16), "panda")
            assert data()["robots"][0]["last"] == "answered"
            with pytest.raises(Exception, match="control character"):
                robot.infer(observation(PANDA, px=16, instruction="a\nb"), "panda")
            assert "control character" in data()["robots"][0]["last"]
        with pytest.raises(InvalidStatus):
            connect(server.ws, additional_headers={"Authorization": f"Api-Key {secret[:-1]}x"})
        refusals = data()["refusals"]
        assert [(row["code"], row["key_name"], row["route"]) for row in refusals] == [
            ("unauthorised", "not let in", "openpi"), ("bad_request", "guest", "stream"),
        ]  # fmt: skip
        assert "unknown or was revoked" in refusals[0]["reason"]
        seen = data(Authorization=f"Api-Key {guest}")
        assert [row["code"] for row in seen["refusals"]] == ["bad_request"]
        assert (seen["latency"], seen["allowed"], seen["stopped"]) == ([], 0, 1)


def test_who_was_refused_is_in_the_log_but_does_not_fill_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with with_keys(tmp_path) as (server, _):
        for _ in range(40):
            with pytest.raises(InvalidStatus):
                connect(server.ws + PATH)
    lines = [record.getMessage() for record in caplog.records]
    assert 1 <= len(lines) <= 15
    assert all("127.0.0.1" in line and "unauthorised" in line for line in lines)


def test_the_documents_load_nothing_from_elsewhere() -> None:
    with running() as server:
        page = patient.get(server.http + "/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "script-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert set(re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)) == {"data:,", "/openapi.json"}
    for route in ("/v1/act", "/v1/robots", "/healthz"):
        assert route in page.text
    assert "base64 of PNG or JPEG" in page.text


def test_a_hello_says_what_is_limited() -> None:
    with running() as server, connect(server.ws + PATH, compression=None) as one:
        limits = unpack(one.recv(timeout=10))["limits"]
    assert limits["instruction_chars"] == 400
    assert limits["idle_s"] is None
    assert np.isfinite([value for value in limits.values() if value is not None]).all()
