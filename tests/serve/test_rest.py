"""HTTP: the same answer as on the stream, every refusal with its status, and the document tells the truth."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import patient
import pytest
from PIL import Image
from test_auth import with_keys
from test_service import Gated
from toy import ALOHA, PANDA, Running, ToyPolicy, observation, running, toy_served, toy_values

from kinema.runtime.messages import chunk_of, infer_message
from kinema.runtime.wire import pack, unpack
from kinema.schema import Question, Verdict
from kinema.serve.app import make_app
from kinema.serve.limits import Limits
from kinema.serve.service import Queueing

SEEN = observation(PANDA, px=24)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(limits=Limits(frame_bytes=200_000)) as found:
        yield found


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def body(seen: Any = SEEN, card: str = "panda", **change: Any) -> dict[str, Any]:
    images = {name: base64.b64encode(encoded(image)).decode() for name, image in seen.images.items()}
    return {
        "card": card,
        "observation": {
            "images": images,
            "state": seen.state.tolist(),
            "instruction": seen.instruction,
            "time_s": seen.time_s,
        },
        **change,
    }


def act(server: Running, **request: Any) -> httpx.Response:
    return patient.post(server.http + "/v1/act", **request)


def test_json_and_msgpack_give_the_same_answer(server: Running) -> None:
    question = Question(observation=SEEN, card="panda", noise_seed=12)
    answer = act(server, json=body(noise_seed=12))
    assert answer.status_code == 200
    told = answer.json()
    np.testing.assert_array_equal(np.array(told["values"]), toy_values(question))
    assert (told["card"], told["verdict"]) == ("panda", None)
    packed = act(
        server,
        content=pack(infer_message(0, question, None)),
        headers={"Content-Type": "application/msgpack"},
    )
    chunk = chunk_of(unpack(packed.content))
    np.testing.assert_array_equal(chunk.values, toy_values(question))
    np.testing.assert_array_equal(chunk.times_s, told["times_s"])


def test_a_verdict_is_told() -> None:
    verdict = Verdict(
        allowed=False, risk={"drop": 0.5}, limit={"drop": 0.1}, horizon_s=1.0, reason="it would fall"
    )
    with running(make_app(toy_served(ToyPolicy(verdict=verdict)))) as server:
        told = act(server, json=body()).json()["verdict"]
    assert told == {"allowed": False, "risk": {"drop": 0.5}, "limit": {"drop": 0.1}, "horizon_s": 1.0,
                    "reason": "it would fall"}  # fmt: skip


def test_committed_actions_are_taken(server: Running) -> None:
    good = {"values": [[0.1] * 7] * 2, "times_s": [0.1, 0.2]}
    assert act(server, json=body(committed=good)).status_code == 200
    for bad in ({"values": [[0.1] * 7, [0.1]], "times_s": [0.1, 0.2]}, {"values": [], "times_s": [1.0]}, []):
        assert act(server, json=body(committed=bad)).status_code == 422


def changed(**observation: Any) -> dict[str, Any]:
    asked = body()
    asked["observation"] |= observation
    return asked


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"{"}, 415, "bad_type"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 422, "bad_request"),
        ({"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 422, "bad_request"),
        ({"content": b"\xff\xfe", "headers": {"Content-Type": "application/json"}}, 422, "bad_request"),
        ({"content": b"\xc1", "headers": {"Content-Type": "application/msgpack"}}, 422, "bad_request"),
        ({"json": {}}, 422, "bad_request"),
        ({"json": body(card="spot")}, 422, "bad_request"),
        ({"json": body(surplus=1)}, 422, "bad_request"),
        ({"json": body(noise_seed=-1)}, 422, "bad_request"),
        ({"json": body(deadline_s=0)}, 422, "bad_request"),
        ({"json": changed(state=[0.0])}, 422, "bad_request"),
        ({"json": changed(images={"front": "%%%", "wrist": ""})}, 422, "bad_request"),
        ({"json": changed(images={})}, 422, "bad_request"),
        ({"json": changed(instruction="refuse me")}, 422, "bad_request"),
        ({"json": changed(instruction="x" * 401)}, 422, "bad_request"),
        ({"json": changed(instruction="crash")}, 500, "policy_failed"),
        ({"content": b"x" * 200_001, "headers": {"Content-Type": "application/json"}}, 413, "too_large"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refusals_have_a_status_a_code_and_a_sentence(
    server: Running, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = act(server, **request_)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) <= {"code", "message", "retry_after_s"}
    assert ".py" not in answer.text
    assert "secret" not in answer.text


def test_a_body_without_a_length_is_bounded_too(server: Running) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"x" * 10_000

    headers = {"Content-Type": "application/json"}
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):  # it closes before all was sent
        answer = patient.post(server.http + "/v1/act", content=endless(), headers=headers)
        assert answer.status_code == 413


def test_not_a_number_is_refused(server: Running) -> None:
    asked = b'{"card":"panda","observation":{"images":{},"state":[NaN],"instruction":"x"}}'
    assert act(server, content=asked, headers={"Content-Type": "application/json"}).status_code == 422


def test_what_there_is_to_know(server: Running) -> None:
    robots = patient.get(server.http + "/v1/robots").json()
    assert set(robots) == {"panda", "aloha"}
    assert robots["aloha"]["cameras"] == list(ALOHA.camera_names)
    assert robots["panda"]["control_hz"] == PANDA.control_hz
    (model,) = patient.get(server.http + "/v1/models").json()
    assert (model["name"], model["cards"]) == ("toy", ["panda", "aloha"])


def test_metrics_count_what_happened() -> None:
    with running() as server:
        act(server, json=body())
        act(server, json=body())
        act(server, json=body(card="spot"))
        page = patient.get(server.http + "/metrics").text
    assert 'kinema_answers_total{card="panda",route="act"} 2.0' in page
    assert 'kinema_actions_total{card="panda"} 8.0' in page
    assert 'kinema_refusals_total{code="bad_request",route="act"} 1.0' in page
    assert "kinema_waiting 0.0" in page


def test_usage_is_the_keys_own(tmp_path: Path) -> None:
    with with_keys(tmp_path) as (server, secret):
        headers = {"Authorization": f"Api-Key {secret}"}
        for _ in range(3):
            assert act(server, json=body(), headers=headers).status_code == 200
        (row,) = patient.get(server.http + "/v1/usage", headers=headers).json()
        assert (row["model"], row["body"], row["requests"], row["actions"]) == ("toy", "panda", 3, 12)
        assert patient.get(server.http + "/v1/usage?day=2001-01-01", headers=headers).json() == []
        for day in ("yesterday", "2001-13", "2001-01-01x", "\u0661\u0662\u0663\u0664-01-01"):
            assert (
                patient.get(server.http + "/v1/usage", params={"day": day}, headers=headers).status_code
                == 422
            )


def test_rates_and_quotas_answer_429_with_the_time_to_come_back(tmp_path: Path) -> None:
    with with_keys(tmp_path, rate_hz=0.5) as (server, secret):
        headers = {"Authorization": f"Api-Key {secret}"}
        answers = [act(server, json=body(), headers=headers) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 429, 429]
    assert 1 <= int(answers[1].headers["Retry-After"]) <= 3
    (tmp_path / "b").mkdir()
    with with_keys(tmp_path / "b", quota_per_day=40) as (server, secret):
        headers = {"Authorization": f"Api-Key {secret}"}
        answers = [act(server, json=body(), headers=headers) for _ in range(9)]
    assert [a.status_code for a in answers] == [200] * 7 + [429] * 2  # an answer has 4, a chunk may have 16


def test_overload_is_503_with_the_time_to_come_back() -> None:
    policy = Gated()
    app = make_app(toy_served(policy), queueing=Queueing(largest_batch=1, largest_queue=1))
    with running(app) as server:
        threads = []
        try:
            for number in range(2):  # one is being answered, one waits
                thread = threading.Thread(target=act, args=(server,), kwargs={"json": body()})
                thread.start()
                threads.append(thread)
                if number == 0:
                    policy.entered.acquire()
            while app.state.gateway.service.waiting < 1:
                assert threads[-1].is_alive(), "it did not wait"
                time.sleep(0.002)  # leave the interpreter to those who are waited for
            answer = act(server, json=body())
            assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
            assert int(answer.headers["Retry-After"]) >= 1
        finally:
            policy.gate.set()
            for thread in threads:
                thread.join()


def test_the_console_shows_what_the_server_did(tmp_path: Path) -> None:
    verdict = Verdict(
        allowed=False, risk={"drop": 0.5}, limit={"drop": 0.1}, horizon_s=1.0, reason="it falls"
    )
    with with_keys(tmp_path, ToyPolicy(verdict=verdict), admin=True) as (server, secret):
        assert patient.get(server.http + "/console").status_code == 200
        assert patient.get(server.http + "/console/data").status_code == 401
        headers = {"Authorization": f"Api-Key {secret}"}
        act(server, json=body(), headers=headers)
        act(server, json=body(card="spot"), headers=headers)
        act(server, json=changed(instruction="refuse me"), headers=headers)
        data = patient.get(server.http + "/console/data", headers=headers).json()
    assert data["health"]["state"] == "ok"
    assert data["health"]["models"] == ["toy"]
    assert data["health"]["memory_mb"] > 10
    assert [(row["state"], row["route"], row["body"]) for row in data["requests"]] == [
        ("refused", "act", "panda"),
        ("done", "act", "panda"),
    ]
    assert (data["allowed"], data["stopped"]) == (0, 1)
    assert data["verdicts"][0]["verdict"]["reason"] == "it falls"
    assert sum(point["answers"] for point in data["latency"]) == 1
    assert [(row["requests"], row["actions"]) for row in data["usage"]] == [(1, 0)]  # refused: not charged


def test_other_faults_have_the_same_form(server: Running) -> None:
    assert patient.get(server.http + "/nowhere").json()["code"] == "http"
    assert patient.get(server.http + "/v1/act").status_code == 405
    assert patient.post(server.http + "/healthz").status_code == 405
    assert patient.get(server.http + "/docs").status_code == 200


def test_the_document_describes_the_body(server: Running) -> None:
    document = patient.get(server.http + "/openapi.json").json()
    assert {"Asked", "Observed", "Committed", "ActAnswer", "Problem"} <= set(
        document["components"]["schemas"]
    )
    assert set(document["paths"]) >= {
        "/v1/act",
        "/v1/robots",
        "/v1/models",
        "/v1/usage",
        "/healthz",
        "/metrics",
    }
