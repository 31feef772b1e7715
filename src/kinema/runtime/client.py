"""A policy on another computer, behind the same protocol as one in this process. Needs no torch.

A question and its answer share a number. When an answer does not come in time, the connection is closed, so
that it cannot come later and be taken for the answer to a newer question; the next question opens a new one.
Every fault is a ServerError: the runtime then lets the body hold.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from kinema.runtime.messages import (
    PATH,
    PROTOCOL,
    Chunk,
    Error,
    FromServer,
    Hello,
    ResetDone,
    chunk_of,
    infer_message,
)
from kinema.runtime.wire import WireError, decode, pack
from kinema.schema import ActionChunk, KinemaError, Observation, Question, noise_seed

KEY_VARIABLE = "KINEMA_API_KEY"  # the environment's word for a key
_LARGEST_ANSWER = 16 * 2**20
_MOST_ITEMS = 2**16  # a server of many bodies tells much of each


class ServerError(KinemaError):
    """No chunk from the server. `code` is the server's word, or `lost` when there was none.

    retry_after_s: when asking again makes sense, if the server said so
    """

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code, self.retry_after_s = code, retry_after_s


class RemotePolicy:
    """Asks a kinema server for chunks, one question at a time; calls of several threads wait for each other.

    url:       ws://host:port or wss://host:port
    api_key:   the secret that `kinema keys make` showed
    timeout_s: how long an answer may take, and how long connecting may
    retry_s:   after a failed connection, questions fail at once for so long instead of trying again
    ssl:       an ssl.SSLContext for certificates that this computer does not know by itself

    `mode` may be set at any time to a word for what the body does (running, holding, ...); it travels with
    the next question, so that the server's console can show it.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout_s: float = 2.0, retry_s: float = 0.5,
        ssl: Any = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.url = stream_url(url)
        self._timeout_s, self._retry_s, self._clock, self._ssl = timeout_s, retry_s, clock, ssl
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key else {}
        self._lock = threading.Lock()
        self._connection: ClientConnection | None = None
        self._hello = Hello(protocol=PROTOCOL)
        self._failed_s = float("-inf")
        self._number = 0
        self.last_timing_ms: Mapping[str, float] = {}
        self.mode: str | None = None
        self._seed, self._asked = 0, 0
        self._begins = False

    def reset(self, seed: int) -> None:
        """Begin an episode: with the next question the server forgets what it remembers of this body.

        The seed travels with every question, so a lost connection loses nothing.
        """
        with self._lock:
            self._seed, self._asked, self._begins = seed, 0, True

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        """One chunk from the server. Raises ServerError; the connection is then closed if it was lost."""
        with self._lock:
            seed = noise_seed(self._seed, self._asked)
            self._asked += 1
            question = Question(observation=observation, card=card_name, noise_seed=seed, committed=committed)
            return self._ask(question)

    def hello(self) -> Mapping[str, Any]:
        """What the server said of itself: model, cards, limits. Connects if there is no connection."""
        with self._lock:
            self._connected(self._clock() + self._timeout_s)
            return msgspec.structs.asdict(self._hello)

    def close(self) -> None:
        with self._lock:
            self._drop()

    def __enter__(self) -> RemotePolicy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, question: Question) -> ActionChunk:
        until_s = self._clock() + self._timeout_s
        try:
            connection = self._connected(until_s)
            self._begin_session(connection)
            self._number += 1
            left_s = max(0.001, until_s - self._clock())
            connection.send(pack(infer_message(self._number, question, left_s, self.mode)))
            answer = self._answer(connection, self._number, until_s)
            if isinstance(answer, Error):
                raise ServerError(answer.code, f"{self.url}: {answer.message}", answer.retry_after_s)
            chunk = chunk_of(answer)
            if chunk.card != question.card:
                raise WireError(f"it answered for {chunk.card!r}, the question was for {question.card!r}")
        except (TimeoutError, OSError, WebSocketException, WireError) as error:
            self._drop()
            raise self._lost(error) from None
        self.last_timing_ms = answer.timing
        return chunk

    def _begin_session(self, connection: ClientConnection) -> None:
        """Tell the server of a `reset`; `_answer` expects its word on that before the next answer."""
        if self._begins:
            self._number += 1
            connection.send(pack({"type": "reset", "id": self._number}))
        self._begins = False

    def _answer(self, connection: ClientConnection, number: int, until_s: float) -> Chunk | Error:
        """The message with this number. One that belongs to no question of ours ends the connection."""
        message = _received(connection, until_s - self._clock())
        if isinstance(message, ResetDone) and message.id == number - 1:
            message = _received(connection, until_s - self._clock())
        if not isinstance(message, Chunk | Error) or message.id != number:
            kind, told = type(message).__name__.lower(), getattr(message, "id", None)
            raise WireError(f"message {kind!r} number {told} is no answer to question {number}")
        return message

    def _connected(self, until_s: float) -> ClientConnection:
        if self._connection is not None:
            return self._connection
        since_s = self._clock() - self._failed_s
        if since_s < self._retry_s:
            raise ServerError("lost", f"{self.url} is lost; trying again in {self._retry_s - since_s:.1f} s")
        try:
            left_s = max(0.001, until_s - self._clock())
            connection = opened(self.url, self._headers, left_s, self._timeout_s, self._ssl)
        except (TimeoutError, OSError, WebSocketException) as error:
            self._failed_s = self._clock()
            raise self._lost(error) from None
        try:
            self._hello = _checked_hello(connection, until_s - self._clock(), self.url)
        except (TimeoutError, OSError, WebSocketException, ServerError) as error:
            self._failed_s = self._clock()
            _close(connection)
            raise error if isinstance(error, ServerError) else self._lost(error) from None
        self._connection, self._begins = connection, False  # a connection is a session of its own
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)

    def _lost(self, error: Exception) -> ServerError:
        if isinstance(error, TimeoutError):
            return ServerError("lost", f"{self.url} did not answer within {self._timeout_s:g} s")
        if isinstance(error, InvalidStatus):
            return _turned_away(self.url, error)
        return ServerError("lost", f"{self.url} is lost: {str(error) or type(error).__name__}")


def opened(
    url: str, headers: Mapping[str, str], open_s: float, send_s: float, ssl: Any = None
) -> ClientConnection:
    """A connection on which neither opening nor sending waits for ever. Raises as `connect` does."""
    connection = connect(
        url, additional_headers=headers, compression=None, max_size=_LARGEST_ANSWER, open_timeout=open_s,
        close_timeout=0.1, ssl=ssl, proxy=None,
    ).__enter__()  # fmt: skip  # releases of websockets differ in what connect() gives, not in what it enters
    _bound_sending(connection, send_s)
    return connection


def stream_url(url: str) -> str:
    """The address of the stream on a server named by ws://, wss://, http://, https:// or host:port."""
    full = url if "://" in url else f"ws://{url}"
    try:
        parts = urlsplit(full)
        scheme = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}[parts.scheme]
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except (KeyError, ValueError):
        named = False
    if not named or parts.path not in ("", "/", PATH):
        raise KinemaError(f"no server address: {url!r}; write ws://host:8000 or wss://host:8000")
    return f"{scheme}://{parts.netloc}{PATH}"


def _received(connection: ClientConnection, timeout_s: float) -> Hello | Chunk | Error | ResetDone | Any:
    data = connection.recv(timeout=max(0.0, timeout_s))
    if not isinstance(data, bytes):
        raise WireError("the server's message is text")
    return decode(data, FromServer, most_items=_MOST_ITEMS)


def _checked_hello(connection: ClientConnection, timeout_s: float, url: str) -> Hello:
    try:
        hello = _received(connection, timeout_s)
        told = f"protocol {hello.protocol}" if isinstance(hello, Hello) else "no protocol of ours"
    except WireError as error:
        hello, told = None, f"no protocol of ours ({error})"
    if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
        raise ServerError(
            "protocol",
            f"{url} speaks {told}, this kinema speaks protocol {PROTOCOL}; "
            "install the matching version on one side",
        )
    return hello


def _turned_away(url: str, error: InvalidStatus) -> ServerError:
    response = error.response
    code = {401: "unauthorised", 403: "forbidden", 429: "rate_limited", 503: "overloaded"}
    after = response.headers.get("Retry-After", "")
    return ServerError(
        code.get(response.status_code, "lost"),
        f"{url} answers {response.status_code}: {_reason(response.body)}",
        float(after) if after.isascii() and after.isdigit() else None,
    )


def _reason(body: bytes | bytearray | None) -> str:
    text = bytes(body or b"")[:300].decode("utf-8", "replace")
    return " ".join(text.split()) or "no reason given"


def _close(connection: ClientConnection) -> None:
    """Close without waiting for a server that may be gone."""
    with contextlib.suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)
    connection.close()


def _bound_sending(connection: ClientConnection, timeout_s: float) -> None:
    """Sending blocks while a lost network takes nothing; by itself it would do so for many minutes."""
    seconds, rest_s = divmod(max(timeout_s, 1e-3), 1.0)
    limit = struct.pack("ll", int(seconds), int(1e6 * rest_s))
    with contextlib.suppress(OSError):  # a system that cannot
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
