"""What a hostile client can cost: its own connection, and little else."""

from __future__ import annotations

import contextlib
import io
import itertools
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import patient
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toy import PANDA, Running, ToyPolicy, observation, running, toy_served
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from kinema.runtime.messages import PATH, infer_message
from kinema.runtime.wire import pack, unpack
from kinema.schema import ActionChunk, KinemaError, Question
from kinema.serve import protocols
from kinema.serve.app import make_app
from kinema.serve.limits import Limits
from kinema.serve.pictures import pictures
from kinema.serve.rates import TokenBucket
from kinema.serve.refusal import Refusal

LIMITS = Limits()
QUESTION = Question(observation=observation(PANDA, px=24), card="panda", noise_seed=0)


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


# -- pictures

HALF_A_FILE = encoded(QUESTION.observation.images["front"])[:400]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_files_are_decoded(kind: str) -> None:
    image = np.full((20, 30, 3), 77, np.uint8)
    found = pictures({"a": encoded(image, kind), "b": image}, ["a", "b"], LIMITS)
    np.testing.assert_array_equal(found["a"], image)
    np.testing.assert_array_equal(found["b"], image)


def test_a_grey_or_transparent_file_becomes_rgb() -> None:
    for mode in ("L", "RGBA", "P", "1"):
        file = io.BytesIO()
        Image.new(mode, (20, 20)).save(file, "PNG")
        assert pictures({"a": file.getvalue()}, ["a"], LIMITS)["a"].shape == (20, 20, 3)


def png_bomb(width: int, height: int) -> bytes:
    """A few bytes that say they are a picture of width x height."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", head)
        + part(b"IDAT", zlib.compress(b"\0" * 10_000))
        + part(b"IEND", b"")
    )


def test_a_bomb_is_refused_by_its_header_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def boom(self: Any, *_: Any) -> Any:
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr(Image.Image, "convert", boom)
    for size in (
        (2**31 - 1, 2**31 - 1),
        (2**31 - 1, 1),
        (LIMITS.image_px + 1, 16),
        (16, LIMITS.image_px + 1),
    ):
        with pytest.raises(Refusal) as refused:
            pictures({"a": png_bomb(*size)}, ["a"], LIMITS)
        assert refused.value.status in (413, 422)
    four = {name: png_bomb(2000, 2000) for name in "abcd"}  # each is small enough, all together are not
    with pytest.raises(Refusal, match="megapixels"):
        pictures(four, list(four), LIMITS)


def test_pictures_nobody_wants_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pictures({"a": np.zeros((16, 16, 3), np.uint8), "b": b"\xff" * 10}, ["a"], LIMITS)
    assert set(found) == {"a"}


@pytest.mark.parametrize(
    "value",
    [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", HALF_A_FILE, "text", 3, None,
     np.zeros((20, 20), np.uint8), np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 3), np.float32),
     np.zeros((15, 20, 3), np.uint8), np.zeros((0, 0, 3), np.uint8), np.zeros((3000, 20, 3), np.uint8)],
    ids=lambda value: str(getattr(value, "shape", value))[:20],
)  # fmt: skip
def test_what_is_no_picture_is_refused(value: Any) -> None:
    with pytest.raises(Refusal, match="image"):
        pictures({"a": value}, ["a"], LIMITS)


@given(st.binary(max_size=300), st.integers(0, 1000))
def test_damaged_files_are_refused_or_decoded(data: bytes, at: int) -> None:
    good = encoded(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3), "JPEG")
    damaged = good[: at % len(good)] + data + good[at % len(good) + len(data) :]
    try:
        image = pictures({"a": damaged}, ["a"], LIMITS)["a"]
    except Refusal:
        return
    assert image.size <= 3e6 * LIMITS.megapixels


def test_limits_must_be_limits() -> None:
    with pytest.raises(KinemaError, match="idle_s"):
        Limits(idle_s=0)


@given(st.lists(st.floats(0, 1), max_size=60))
def test_a_token_bucket_never_passes_more_than_its_rate_and_burst(steps: list[float]) -> None:
    now = [0.0]
    bucket = TokenBucket(10.0, 3, lambda: now[0])
    passed = 0
    for step in steps:
        now[0] += step
        missing_s = bucket.take()
        passed += missing_s == 0
        assert passed <= 3 + 10.0 * now[0] + 1e-6
        if missing_s:
            now[0] += missing_s + 1e-9  # who waits as long as it was told may pass
            assert bucket.take() == 0
            passed += 1


def test_a_clock_that_goes_back_gives_nothing() -> None:
    now = [100.0]
    bucket = TokenBucket(1.0, 1, lambda: now[0])
    assert bucket.take() == 0
    now[0] = 0.0
    assert bucket.take() > 0


# -- connections


@contextmanager
def strict(**limits: Any) -> Iterator[Running]:
    with running(limits=Limits(**limits)) as server:
        yield server


def upgrade(path: str) -> bytes:
    """A client's half of the handshake."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", ""]
    return "\r\n".join(lines).encode()


def deaf_socket(port: int) -> socket.socket:
    """A client with little room for what it is sent."""
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.settimeout(10)
    deaf.connect(("127.0.0.1", port))
    return deaf


def closed_within(raw: socket.socket, seconds: float) -> bytes:
    """What the server sends until it closes."""
    raw.settimeout(seconds)
    data = b""
    try:
        while part := raw.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


@pytest.mark.parametrize("path", ["/", PATH])
def test_a_frame_too_large_ends_the_connection(path: str) -> None:
    with strict(frame_bytes=10_000) as server, connect(server.ws + path, compression=None) as one:
        one.recv()
        one.send(b"x" * 10_001)
        with pytest.raises(ConnectionClosed) as closed:
            one.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize("path", ["/", PATH])
def test_a_silent_client_is_let_go(path: str) -> None:
    with strict(idle_s=0.2) as server, connect(server.ws + path, compression=None) as one:
        one.recv()
        with pytest.raises(ConnectionClosed) as closed:
            one.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


def test_half_a_frame_is_silence() -> None:
    with strict(idle_s=0.3, send_s=0.3) as server, connect(server.ws + PATH, compression=None) as one:
        one.recv()
        one.socket.sendall(b"\x82\xff" + struct.pack(">Q", 5000) + b"mask" + b"half of it")
        with pytest.raises(ConnectionClosed):
            one.recv(timeout=5)


def test_a_head_that_never_ends_is_cut_off() -> None:
    with strict(handshake_s=0.2) as server:
        for start in (
            b"",
            b"GET / HTTP/1.1\r\nHost: x\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /he",
        ):
            with server.connect_raw() as raw:
                raw.sendall(start)
                closed_within(raw, 5)


def test_a_head_that_is_too_large_is_refused() -> None:
    with strict() as server, server.connect_raw() as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        try:
            for number in range(1000):
                raw.sendall(b"X-%d: %s\r\n" % (number, b"x" * 1000))
        except OSError:
            pass  # it hung up on us
        assert b"200 OK" not in closed_within(raw, 5)


@pytest.mark.parametrize("lines", [[b"X-%d: 1" % i for i in range(5000)], [b"X: " + b"x" * 100_000]])
def test_headers_that_come_all_at_once_are_bounded_too(lines: list[bytes]) -> None:
    with strict() as server, server.connect_raw() as raw:
        with contextlib.suppress(OSError):  # it hung up on us
            raw.sendall(b"\r\n".join([b"GET /healthz HTTP/1.1", b"Host: localhost", *lines, b"", b""]))
        assert b"200 OK" not in closed_within(raw, 20)


@pytest.mark.parametrize("method", ["POST /v1/robots", "POST /nowhere", "GET /healthz"])
def test_a_body_that_nobody_reads_holds_no_connection(method: str) -> None:
    head = f"{method} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n".encode()
    with strict() as server, server.connect_raw() as raw:
        raw.sendall(head + b"x")
        assert closed_within(raw, 20).startswith(b"HTTP/1.1")  # answered, and closed without the rest


def test_one_address_holds_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "is_this_machine", lambda _: False)
    with strict(address_connections=3) as server:
        held = [server.connect_raw() for _ in range(3)]
        for one in held:
            one.sendall(b"GET / HTTP/1.1\r\n")
        until = time.monotonic() + 20
        while server.addresses["127.0.0.1"] < 3:
            assert time.monotonic() < until
            time.sleep(0.01)
        with server.connect_raw() as another:
            assert closed_within(another, 20) == b""
        held.pop().close()
        while server.addresses["127.0.0.1"] > 2:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert patient.get(server.http + "/healthz").text == "OK\n"
        with connect(server.ws) as socket:  # which began as HTTP: counted once, and given back once
            assert socket.recv()
            assert server.addresses["127.0.0.1"] >= 3
        for one in held:
            one.close()
        while server.addresses:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_body_that_never_comes_is_given_up() -> None:
    with strict(handshake_s=0.2) as server, server.connect_raw() as raw:
        head = b"POST /v1/act HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        raw.sendall(head + b"Content-Length: 100\r\n\r\n{")
        raw.settimeout(5)
        assert raw.recv(4096).startswith(b"HTTP/1.1 408")


def test_no_more_connections_than_allowed() -> None:
    with strict(connections=2) as server:
        with connect(server.ws) as first, connect(server.ws + PATH) as second:
            first.recv(), second.recv()
            with pytest.raises(InvalidStatus) as refused:
                connect(server.ws)
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"]
        until = time.monotonic() + 5
        while server.app.state.gateway.metrics.connections.labels("stream")._value.get():
            assert time.monotonic() < until
            time.sleep(0.01)
        with connect(server.ws) as again:
            assert again.recv()


def test_messages_that_come_too_fast_only_slow_their_sender() -> None:
    with (
        strict(message_hz=0.01, burst=2) as server,
        connect(server.ws + PATH, close_timeout=0.1) as fast,
        connect(server.ws + PATH) as other,
    ):
        fast.recv(), other.recv()
        for number in range(4):
            fast.send(pack({"type": "ping", "id": number}))
        assert [unpack(fast.recv(timeout=10))["id"] for _ in range(2)] == [0, 1]
        for number in range(2):
            other.send(pack({"type": "ping", "id": number}))
            assert unpack(other.recv(timeout=10))["id"] == number
        with pytest.raises(TimeoutError):
            fast.recv(timeout=0.05)  # the third is read after 100 s


def test_large_messages_count_for_more() -> None:
    with (
        strict(message_hz=0.01, burst=8) as server,
        connect(server.ws + PATH, compression=None, close_timeout=0.1) as one,
    ):
        one.recv()
        one.send(pack({"type": "ping", "id": 1, "x": bytes(7 * 2**20)}))
        assert unpack(one.recv(timeout=20))["code"] == "bad_request"
        one.send(pack({"type": "ping", "id": 2}))
        assert unpack(one.recv(timeout=10))["id"] == 2
        one.send(pack({"type": "ping", "id": 3}))
        with pytest.raises(TimeoutError):
            one.recv(timeout=0.05)


class Wordy(ToyPolicy):
    """Answers with more than the sockets on the way hold."""

    def _chunk(self, question: Question) -> ActionChunk:
        return ActionChunk(values=np.zeros((10_000, 7)), times_s=np.arange(10_000) / 10, card=question.card)


def test_a_client_that_does_not_read_is_cut_off_and_slows_nobody() -> None:
    def frame(number: int) -> bytes:
        message = pack(infer_message(number, QUESTION, None))
        return b"\x82\xfe" + struct.pack(">H", len(message)) + b"\0\0\0\0" + message

    limits = Limits(send_s=0.5, message_hz=1e6, burst=10**6)
    with (
        running(make_app(toy_served(Wordy()), limits=limits)) as server,
        deaf_socket(server.port) as deaf,
        connect(server.ws + PATH, compression=None) as good,
    ):
        good.recv()
        deaf.sendall(upgrade(PATH))
        until = time.monotonic() + 60
        for number in itertools.count():
            assert time.monotonic() < until, "for 60 s a client was answered that read nothing"
            try:
                deaf.sendall(frame(number))
            except TimeoutError:
                pytest.fail("the connection was left open")
            except OSError:
                break
            good.send(pack({"type": "ping", "id": number}))
            assert unpack(good.recv(timeout=20))["id"] == number


def test_a_flood_of_pings_that_nobody_reads_is_cut_off() -> None:
    pings = (b"\x89\xfd" + b"\0\0\0\0" + b"p" * 125) * 100
    with strict() as server, deaf_socket(server.port) as deaf:
        deaf.sendall(upgrade("/"))
        time.sleep(0.2)
        try:
            for _ in range(5000):
                deaf.sendall(pings)
        except OSError:
            return  # reset, or a broken pipe
    pytest.fail("65 MB of pings were taken without an answer being read")


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_not_http_is_let_go(data: bytes) -> None:
    with strict(handshake_s=0.3) as server:
        with server.connect_raw() as raw:
            raw.sendall(data)
            assert b"Traceback" not in closed_within(raw, 5)
        assert patient.get(server.http + "/healthz").text == "OK\n"
