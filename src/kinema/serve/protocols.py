"""uvicorn's two protocols with the ends it leaves open closed: nobody may hold a connection by doing nothing.

uvicorn has no time limit on a request's head and no size limit on its headers, and takes any number of
connections from one address; it waits for ever for the rest of a body that nobody reads, answers pings
however much its own answers pile up unread, keeps every empty fragment, and waits for ever for a closing
peer to read. These classes are not public: `pyproject.toml` holds uvicorn to the release they were made for.
"""

from __future__ import annotations

import asyncio
from asyncio.transports import BaseTransport
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from kinema.serve.auth import is_this_machine
from kinema.serve.limits import Limits

_HEAD_BYTES, _HEADERS = 64 * 2**10, 100
_UNREAD_BYTES = 2**20  # answers to pings that nobody reads
_FRAGMENTS = 4096


class HttpProtocol(HttpToolsProtocol):
    """HTTP whose requests must show their head in time and in a few kilobytes."""

    limits: ClassVar[Limits] = Limits()
    addresses: ClassVar[Counter[str]] = Counter()  # open connections, but for this machine's own
    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = _headers = _header_bytes = 0
    _in_head = True

    def connection_made(self, transport: BaseTransport) -> None:  # type: ignore[override]
        super().connection_made(transport)  # type: ignore[arg-type]
        self._expect_head()
        address = address_of(transport)
        self.addresses[address] += 1
        if self.addresses[address] > self.limits.address_connections and not is_this_machine(address):
            transport.abort()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        # A body that came with the head was counted too, but then the head is complete.
        if self._in_head and self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("the request's head is too large")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._headers += 1
        self._header_bytes += len(name) + len(value)
        if self._headers > _HEADERS or self._header_bytes > _HEAD_BYTES:
            raise ValueError("too many headers")  # which is answered with 400

    def on_message_begin(self) -> None:
        self._headers = self._header_bytes = 0
        self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._forget_deadline()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._in_head = True
        unread = self.cycle is not None and self.cycle.more_body
        super().on_response_complete()
        if unread:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        _forget(self.addresses, self.transport)
        self._forget_deadline()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._forget_deadline()
        self._in_head = True
        self._deadline = self.loop.call_later(self.limits.handshake_s, self.transport.abort)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class StreamProtocol(WebSocketsSansIOProtocol):
    """A websocket that ends when it is told to, and whose peer must read what it asked for."""

    limits: ClassVar[Limits] = Limits()
    addresses: ClassVar[Counter[str]] = Counter()
    _end: asyncio.TimerHandle | None = None

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > _UNREAD_BYTES:
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) > _FRAGMENTS:
            self.transport.abort()
            return
        super().handle_cont(event)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._end_soon()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._end_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        _forget(self.addresses, self.transport)
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def _end_soon(self) -> None:
        if self._end is None and not self.disconnected:
            self._end = self.loop.call_later(self.limits.send_s, self.transport.abort)


def address_of(transport: BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""


def _forget(addresses: Counter[str], transport: BaseTransport) -> None:
    """A connection has ended, as HTTP or as the websocket that it became."""
    address = address_of(transport)
    addresses[address] -= 1
    if addresses[address] <= 0:
        del addresses[address]


def protocols(limits: Limits) -> dict[str, Any]:
    """The two classes under the names that uvicorn's Config knows."""
    bound = {"limits": limits, "addresses": Counter[str]()}
    return {
        "http": type("BoundHttpProtocol", (HttpProtocol,), bound),
        "ws": type("BoundStreamProtocol", (StreamProtocol,), bound),
    }
