"""Servers that die, networks that are cut, answers that come late: the client says so, the body holds."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import patient
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from test_service import Gated
from toy import PANDA, Running, ToyPolicy, observation, running, toy_served
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from kinema.runtime import client
from kinema.runtime.client import RemotePolicy, ServerError
from kinema.runtime.clock import SimulatedClock
from kinema.runtime.loop import ControlLoop
from kinema.runtime.messages import PROTOCOL, chunk_message
from kinema.runtime.robot import Body
from kinema.runtime.strategy import strategy
from kinema.runtime.watchdog import Mode
from kinema.runtime.wire import pack, unpack
from kinema.runtime.wiring import card_units
from kinema.schema import ActionChunk
from kinema.serve.app import make_app
from laws import examples

SEEN = observation(PANDA, px=16)


class Wire:
    """A way between client and server that can be cut, or held without being cut."""

    def __init__(self, port: int) -> None:
        self._target, self._pairs = port, []  # type: ignore[var-annotated]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}"
        self.flowing = threading.Event()
        self.flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                self.flowing.wait(20)
                other.sendall(data)
        except OSError:
            pass
        other.close()

    def cut(self) -> None:
        for pair in self._pairs:
            for end in pair:
                _end(end)

    def close(self) -> None:
        _end(self._listener)
        self.flowing.set()
        self.cut()


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # closing alone does not wake a thread that waits in it
    end.close()


@contextmanager
def wired(server: Running) -> Iterator[Wire]:
    wire = Wire(server.port)
    try:
        yield wire
    finally:
        wire.close()


@contextmanager
def scripted(answer: Callable[[ServerConnection, dict[str, Any]], None], **hello: Any) -> Iterator[str]:
    """A server that says hello and then whatever the test wants."""

    def handle(connection: ServerConnection) -> None:
        connection.send(pack({"type": "hello", "protocol": PROTOCOL, "cards": {}, **hello}))
        for data in connection:
            answer(connection, unpack(data))

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()


def chunk(card: str = "panda", value: float = 0.0) -> ActionChunk:
    return ActionChunk(values=np.full((4, 7), value), times_s=np.arange(4) / 10, card=card)


def test_a_server_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not tried again with each question, but after a while."""
    tried, now = [], [0.0]
    real = client.connect

    def connecting(*arguments: Any, **options: Any) -> Any:
        tried.append(now[0])
        return real(*arguments, **options)

    monkeypatch.setattr(client, "connect", connecting)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    policy = RemotePolicy(f"ws://127.0.0.1:{port}", timeout_s=60.0, retry_s=0.5, clock=lambda: now[0])
    for now[0] in (0.0, 0.1, 0.4, 0.6):
        with pytest.raises(ServerError, match="lost") as lost:
            policy.infer(SEEN, "panda")
        assert lost.value.code == "lost"
    assert tried == [0.0, 0.6]


def test_a_server_that_accepts_but_never_speaks_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        policy = RemotePolicy(f"ws://127.0.0.1:{mute.getsockname()[1]}", timeout_s=0.2)
        with pytest.raises(ServerError, match="within"):
            policy.infer(SEEN, "panda")


def test_after_a_cut_the_next_question_finds_the_way_again() -> None:
    with running() as server, wired(server) as wire, RemotePolicy(wire.url, retry_s=0.0) as policy:
        policy.infer(SEEN, "panda")
        wire.cut()
        with pytest.raises(ServerError) as lost:
            policy.infer(SEEN, "panda")
        assert lost.value.code == "lost"
        assert policy.infer(SEEN, "panda").card == "panda"


def test_a_network_that_takes_nothing_does_not_block_for_ever() -> None:
    """Neither cut nor flowing: sending itself must time out, not only waiting for the answer."""
    large = observation(PANDA, px=1000)  # more than the sockets' buffers on the way hold
    with running() as server, wired(server) as wire, RemotePolicy(wire.url, timeout_s=20.0) as policy:
        policy.infer(SEEN, "panda")
        policy._timeout_s = 0.5
        client._bound_sending(policy._connection, 0.5)  # type: ignore[arg-type]
        wire.flowing.clear()
        for _ in range(3):  # without an end this would run into the test's time limit
            with pytest.raises(ServerError):
                policy.infer(large, "panda")


def test_what_comes_after_the_time_limit_is_never_played() -> None:
    """The late answer arrives on a connection that is closed by then; the next one is a new connection's."""
    release = threading.Event()
    asked: list[int] = []

    def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        asked.append(message["id"])
        number = len(asked)
        if number == 2:
            assert release.wait(20)
        with contextlib.suppress(ConnectionClosed):
            connection.send(pack(chunk_message(message["id"], chunk(value=number), {})))

    with scripted(answer) as url, RemotePolicy(url, timeout_s=20.0) as policy:
        assert policy.infer(SEEN, "panda").values[0, 0] == 1
        policy._timeout_s = 0.2  # however slow this machine is: the second answer does not come
        with pytest.raises(ServerError, match="within"):
            policy.infer(SEEN, "panda")
        policy._timeout_s = 20.0
        release.set()
        assert policy.infer(SEEN, "panda").values[0, 0] == 3
    assert len(set(asked)) == 3


@pytest.mark.parametrize(
    "false",
    [
        {"id": 99},
        {"card": "aloha"},
        {"values": np.zeros(3)},
        {"values": "none"},
        {"times_s": np.zeros(9)},
        {"type": "hello"},
        {"verdict": {"allowed": "yes"}},
        {"type": "pong"},
    ],
    ids=str,
)
def test_a_false_answer_ends_the_session(false: dict[str, Any]) -> None:
    good = [False]

    def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        reply = chunk_message(message["id"], chunk(), {})
        connection.send(pack(reply if good[0] else {**reply, **false}))

    with scripted(answer) as url, RemotePolicy(url) as policy:
        with pytest.raises(ServerError):
            policy.infer(SEEN, "panda")
        good[0] = True
        assert policy.infer(SEEN, "panda").card == "panda"


class Mute:
    """A connection whose other end is whatever the test says."""

    socket = type("Socket", (), {"shutdown": lambda *_: None, "setsockopt": lambda *_: None})()

    def __init__(self, answers: list[bytes | str]) -> None:
        self.answers = answers

    def __enter__(self) -> Mute:
        return self

    def send(self, message: bytes) -> None: ...

    def close(self) -> None: ...

    def recv(self, timeout: float) -> bytes | str:
        return self.answers.pop(0)


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=5),
    st.binary(max_size=5), st.just([]), st.just({}), st.just({"a": 1}),
    st.sampled_from([np.zeros(3), np.zeros((0,)), np.zeros((4, 7)), np.full((4, 7), np.nan), np.float64(2)]),
    st.sampled_from(["chunk", "error", "hello", "reset", "pong"]),
)  # fmt: skip


@given(
    kind=st.sampled_from(["chunk", "error", "reset"]),
    changes=st.dictionaries(
        st.sampled_from(["type", "id", "card", "values", "times_s", "verdict", "timing", "code", "message",
                         "retry_after_s", "protocol", "cards", "limits"]), ODD, max_size=3),
    in_verdict=st.dictionaries(st.sampled_from(["allowed", "risk", "limit", "horizon_s", "reason"]), ODD),
    hello=st.booleans(),
    cut=st.none() | st.tuples(st.integers(0, 300), st.integers(0, 255)),
)  # fmt: skip
@examples(250, suppress_health_check=list(HealthCheck))
def test_whatever_a_server_says_is_a_chunk_or_a_server_error(
    monkeypatch: pytest.MonkeyPatch, kind: str, changes: dict[str, Any], in_verdict: dict[str, Any],
    hello: bool, cut: tuple[int, int] | None,
) -> None:  # fmt: skip
    """Anything else would end the control loop, and with it the torque of the arm."""
    verdict = {"allowed": True, "risk": {}, "limit": {}, "horizon_s": 1.0, "reason": ""} | in_verdict
    first = {"type": "hello", "protocol": PROTOCOL, "cards": {}} | (changes if hello else {})
    message = chunk_message(1, chunk(), {}) | {
        "code": "late",
        "message": "x",
        "type": kind,
        "verdict": verdict,
    }
    answer = bytearray(pack(message if hello else message | changes))
    if cut:
        answer[cut[0] % len(answer)] = cut[1]
    answers: list[bytes | str] = [pack(first), bytes(answer), "text"]
    monkeypatch.setattr(client, "connect", lambda *_, **__: Mute(answers))
    policy = RemotePolicy("ws://nowhere:1", retry_s=0.0)
    told: ActionChunk | ServerError
    try:
        told = policy.infer(SEEN, "panda")
    except ServerError as error:
        told = error
    if isinstance(told, ServerError):
        assert isinstance(told.code, str)
        assert told.retry_after_s is None or isinstance(told.retry_after_s, float)


def test_a_reset_begins_a_session_at_the_server() -> None:
    sessions: list[str] = []

    class Noting(ToyPolicy):
        def answer(self, questions: Any) -> Any:
            sessions.extend(each.session for each in questions)
            return super().answer(questions)

    with running(make_app(toy_served(Noting()))) as server, RemotePolicy(server.ws, timeout_s=20.0) as policy:
        for seed in range(3):
            policy.reset(seed)
            policy.infer(SEEN, "panda")
            policy.infer(SEEN, "panda")
    assert sessions[0::2] == sessions[1::2]
    assert len(set(sessions)) == 3


@pytest.mark.parametrize("hello", [{"protocol": 2}, {"type": "welcome"}, {"protocol": None}])
def test_another_protocol_is_told_before_any_question(hello: dict[str, Any]) -> None:
    def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        pytest.fail("a question was asked in a protocol we do not speak")

    with scripted(answer, **hello) as url, pytest.raises(ServerError, match="protocol"):
        RemotePolicy(url).infer(SEEN, "panda")


def test_a_client_that_is_killed_leaves_nothing_behind() -> None:
    policy = Gated()
    with running(make_app(toy_served(policy))) as server:
        with wired(server) as wire:
            remote = RemotePolicy(wire.url, timeout_s=20.0)
            lost: list[ServerError] = []

            def ask() -> None:
                with pytest.raises(ServerError) as error:
                    remote.infer(SEEN, "panda")
                lost.append(error.value)

            asking = threading.Thread(target=ask)
            asking.start()
            policy.entered.acquire()
            wire.cut()  # in the middle of its question
            asking.join(5)
            assert [error.code for error in lost] == ["lost"]
        policy.gate.set()
        gateway = server.app.state.gateway
        until = time.monotonic() + 5
        while gateway.activity.open or gateway.metrics.connections.labels("stream")._value.get():
            assert time.monotonic() < until
            time.sleep(0.01)
        with RemotePolicy(server.ws) as other:
            assert other.infer(SEEN, "panda").card == "panda"


def test_a_slow_client_does_not_slow_the_others() -> None:
    with running() as server, wired(server) as wire:
        slow, quick = RemotePolicy(wire.url, timeout_s=60.0), RemotePolicy(server.ws, timeout_s=20.0)
        slow.infer(SEEN, "panda")
        quick.infer(SEEN, "panda")
        wire.flowing.clear()
        stuck = threading.Thread(target=slow.infer, args=(observation(PANDA, px=600), "panda"))
        stuck.start()
        for _ in range(20):
            quick.infer(SEEN, "panda")
        assert stuck.is_alive()
        wire.flowing.set()
        stuck.join(20)
        quick.close(), slow.close()


class StillRobot:
    """Stands where it is; remembers what it was sent."""

    name = "still"

    def __init__(self) -> None:
        self.is_connected, self.sent = False, 0
        self.units = card_units(PANDA)
        self._state = {f"{c.name}.pos": float(v) for c, v in zip(PANDA.states, SEEN.state)}

    @property
    def observation_features(self) -> dict[str, Any]:
        return dict.fromkeys(self._state, float) | {name: (16, 16, 3) for name in PANDA.camera_names}

    @property
    def action_features(self) -> dict[str, Any]:
        return {f"{channel.name}.pos": float for channel in PANDA.actions}

    def connect(self, calibrate: bool = True) -> None:
        self.is_connected = True

    def disconnect(self) -> None:
        self.is_connected = False

    def get_observation(self) -> dict[str, Any]:
        return {**self._state, **SEEN.images}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self.sent += 1
        return action


class Asks:
    """Asks at once, on the loop's own thread: what the policy raises is an answer too."""

    busy = False

    def __init__(self, policy: RemotePolicy) -> None:
        self._policy, self._answer = policy, None

    def ask(self, question: Any, now_s: float) -> None:
        from kinema.runtime.inference import Answer

        try:
            made = self._policy.infer(question.observation, question.card, question.committed)
            self._answer = Answer(number=question.number, chunk=made)
        except ServerError as error:
            self._answer = Answer(number=question.number, chunk=None, error=error)

    def poll(self, now_s: float) -> Any:
        answer, self._answer = self._answer, None
        return answer

    def close(self) -> None: ...


def test_when_the_server_is_lost_the_body_holds_and_then_stops_as_its_card_says() -> None:
    class Standing(ToyPolicy):
        def _chunk(self, question: Any) -> ActionChunk:
            times_s = question.observation.time_s + 0.1 * np.arange(1, 17)
            return ActionChunk(values=np.tile(SEEN.state, (16, 1)), times_s=times_s, card=question.card)

    clock = SimulatedClock()
    with running(make_app(toy_served(Standing()))) as server, wired(server) as wire:
        policy = RemotePolicy(wire.url, retry_s=0.0)
        with Body(PANDA, StillRobot()) as body:  # type: ignore[arg-type]
            loop = ControlLoop(body, Asks(policy), clock, strategy("blend", PANDA))  # type: ignore[arg-type]
            loop.begin("stand")
            for _ in range(10):
                assert loop.step().mode == Mode.RUNNING
                loop.wait()
            wire.close()  # cut, and nobody listens any more
            modes = []
            for _ in range(60):
                modes.append(loop.step().mode)
                loop.wait()
    first_hold, first_stop = modes.index(Mode.HOLDING), modes.index(Mode.STOPPED)
    held_s = (first_stop - first_hold) / PANDA.control_hz
    assert held_s <= PANDA.hold.stop_after_s + 1 / PANDA.control_hz
    assert set(modes[first_stop:]) == {Mode.STOPPED}
    assert "lost" in loop.reason


def test_a_killed_server_loses_no_answer_it_gave(tmp_path: Path) -> None:
    """SIGKILL in the middle of the work: every answer that a client saw is in the books afterwards."""
    environment = {**os.environ, "KINEMA_HOME": str(tmp_path)}
    code = "from kinema.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "hold", "--port", "0", "--message-rate", "100000"]
    command += ["--database", f"sqlite:///{tmp_path / 'serve.sqlite'}"]

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, process.stdout.readline().split()[-1]

    process, url = start()
    answered = 0
    try:
        with RemotePolicy(url, timeout_s=60.0) as policy:
            policy.infer(SEEN, "panda")
            answered += 1
            timer = threading.Timer(0.5, process.send_signal, [signal.SIGKILL])
            timer.start()
            with contextlib.suppress(ServerError):
                while timer.is_alive() or process.poll() is None:
                    policy.infer(SEEN, "panda")
                    answered += 1
    finally:
        process.kill()
        process.wait()
    process, url = start()
    try:
        until = time.monotonic() + 60
        while True:
            try:
                (row,) = patient.get(url + "/v1/usage", timeout=10).json()
                break
            except httpx.HTTPError:
                assert time.monotonic() < until
                time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(30)
    assert answered > 1
    assert answered <= row["requests"] <= answered + 1  # one may have been written and not sent
