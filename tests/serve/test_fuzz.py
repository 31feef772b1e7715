"""Both websockets under made-up messages: no fault of the server, no hang, no leak, and it serves on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import patient
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import PANDA, Running, ToyPolicy, observation, running, toy_served, toy_values
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from kinema.runtime.client import RemotePolicy
from kinema.runtime.messages import PATH, infer_message
from kinema.runtime.wire import pack, unpack
from kinema.schema import Question, noise_seed
from kinema.serve.app import make_app
from kinema.serve.limits import Limits
from laws import examples

GOOD = infer_message(1, Question(observation=observation(PANDA, px=16), card="panda", noise_seed=0), None)
OPENPI = {**GOOD["observation"]["images"], "state": GOOD["observation"]["state"], "prompt": "lift"}

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=10)
    | st.binary(max_size=30)
    | st.sampled_from(
        [np.zeros(7, np.float32), np.zeros((16, 16, 3), np.uint8), np.full(7, np.nan), np.zeros(0)]
    )
)
ANY = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def spoilt(draw: Any, good: dict[str, Any]) -> Any:
    """A good message in which one part, at any depth, is replaced or missing."""
    message: dict[str, Any] = {**good}
    place, path = message, draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))
    for step, at in enumerate(path):
        key = sorted(place, key=str)[at % len(place)]
        if step == len(path) - 1 or not isinstance(place[key], dict) or not place[key]:
            if draw(st.booleans()):
                place[key] = draw(ANY)
            else:
                del place[key]
            break
        place[key] = {**place[key]}
        place = place[key]
    return message


@st.composite
def damaged(draw: Any, good: dict[str, Any]) -> bytes:
    """The bytes of a good message, cut or with a few of them changed."""
    data = bytearray(pack(good))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, 400)) % len(data)] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


def messages(good: dict[str, Any]) -> Any:
    return spoilt(good) | ANY | damaged(good) | st.binary(max_size=50) | st.text(max_size=20)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    limits = Limits(message_hz=1e6, burst=10**6, idle_s=5.0, connections=20)
    before = set(threading.enumerate())
    with running(make_app(toy_served(ToyPolicy()), limits=limits)) as found:
        found.app.state.others_threads = before
        yield found


def raw(message: Any) -> bytes | str:
    return message if isinstance(message, bytes | str) else pack(message)


def faults(server: Running) -> float:
    """Refusals so far that mean a fault of the server or of the policy."""
    page = patient.get(server.http + "/metrics").text
    lines = [line for line in page.splitlines() if "policy_failed" in line or "metering_failed" in line]
    return sum(float(line.split()[-1]) for line in lines)


@given(st.lists(messages(GOOD), min_size=1, max_size=6))
@examples(50)
def test_the_stream_answers_every_message_or_closes(server: Running, sent: list[Any]) -> None:
    with connect(server.ws + PATH, compression=None) as socket:
        assert unpack(socket.recv(timeout=5))["type"] == "hello"
        kinds, closed = [], None
        try:
            for message in sent:
                socket.send(raw(message))
            socket.send(pack({"type": "ping", "id": 77}))
            while (answer := unpack(socket.recv(timeout=5))) != {"type": "pong", "id": 77}:
                kinds.append(answer["type"])
        except ConnectionClosed as error:
            closed = error.rcvd
    assert closed is None or closed.code in (1001, 1007, 1008, 1009)  # with a reason, and not a fault
    assert set(kinds) <= {"chunk", "error", "pong", "reset"}


@given(messages(OPENPI))
@examples(50)
def test_openpi_answers_with_actions_or_a_sentence(server: Running, message: Any) -> None:
    with connect(server.ws, compression=None) as socket:
        socket.recv(timeout=5)
        socket.send(raw(message))
        answer = socket.recv(timeout=5)
    if isinstance(answer, str):
        assert "Traceback" not in answer
        assert not answer.startswith("policy_failed")
    else:
        assert unpack(answer)["actions"].shape == (20, 7)  # 4 at 10 Hz are 20 at 50


def test_after_all_that_nothing_is_left_and_it_serves_on(server: Running) -> None:
    until = time.monotonic() + 10
    while (
        server.app.state.gateway.metrics.connections.labels("stream")._value.get()
        and time.monotonic() < until
    ):
        time.sleep(0.05)
    gateway = server.app.state.gateway
    for route in ("stream", "openpi"):
        assert gateway.metrics.connections.labels(route)._value.get() == 0
    assert (gateway.service.waiting, gateway.service.answering, gateway.activity.open) == (0, 0, {})
    assert faults(server) == 0
    ours = set(threading.enumerate()) - server.app.state.others_threads
    assert len([t for t in ours if t.name.startswith("kinema-")]) <= 5
    with RemotePolicy(server.ws) as policy:
        seen = observation(PANDA, px=16)
        wanted = Question(observation=seen, card="panda", noise_seed=noise_seed(0, 0))
        np.testing.assert_array_equal(policy.infer(seen, "panda").values, toy_values(wanted))


@given(st.binary(max_size=200))
@examples(40)
def test_frames_that_are_no_frames_only_end_their_connection(server: Running, data: bytes) -> None:
    with connect(server.ws + PATH, compression=None, close_timeout=0.02) as socket:
        socket.recv(timeout=5)
        socket.socket.sendall(data)
    with server.connect_raw() as bare:
        bare.sendall(data)
