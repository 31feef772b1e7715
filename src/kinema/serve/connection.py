"""One websocket with its limits: how fast it may speak, how long be silent, how slowly read."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Protocol

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from kinema.serve.auth import Authenticator
from kinema.serve.console import RobotRow
from kinema.serve.gateway import Asker, Gateway
from kinema.serve.keys import LOCAL, STRANGER, Key
from kinema.serve.rates import TokenBucket
from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer

_FAULTS, _FAULTS_HZ = 20, 1.0  # messages that are none of ours: how many at once, and per second after that
_REMEMBERED = 1024  # clients whose faults are
_REFUSED = 10  # as many messages as one that is refused counts


class Disconnected(Exception):  # noqa: N818 - not a fault
    """The client closed, was too slow, or was silent for too long. Nothing more can be said to it."""


class Connection:
    """An accepted websocket. `receive` and `send` raise Disconnected when it is over."""

    def __init__(self, websocket: WebSocket, route: str, key: Key, limiter: ConnectionLimiter) -> None:
        self._websocket, self.route, self._auth = websocket, route, limiter.auth
        self._hold = partial(limiter.hold, key)
        self.gateway, self._limits = limiter.gateway, limiter.gateway.limits
        # Of the session, for what is remembered between its questions: by client, so that one who opens
        # many sessions forgets its own.
        self._number, self._resets = secrets.token_hex(8), 0
        client = key.id if key.id != LOCAL.id else f"local.{self._number}"
        self.asker = Asker(key=key, name=client, address=address_of(websocket))
        self._faults = limiter.faults_of(client)
        self.began_s = self._said_s = self.gateway.clock()
        self.mode = ""  # the body's own word for what it does, if it says one
        self._card, self._said = "", "connected"
        self._refused = 0  # messages since the last that was read
        self._bucket = TokenBucket(self._limits.message_hz, self._limits.burst, self.gateway.clock)

    @property
    def query(self) -> Mapping[str, str]:
        return self._websocket.query_params

    @property
    def session(self) -> str:
        """Client, connection and episode: of this is remembered what is remembered between questions."""
        return f"{self.asker.name}/{self._number}.{self._resets}"

    @property
    def age_s(self) -> float:
        return self.gateway.clock() - self.began_s

    def reset(self) -> None:
        self._resets += 1

    async def asker_now(self) -> Asker:
        """Whose it is now: a key may be revoked, or its quota changed, while it is open. Raises Refusal."""
        self.asker = replace(self.asker, key=await self._auth.key_of(self._websocket))
        return self.asker

    def note(self, result: Answer | Refusal, card: str = "") -> None:
        """What was said to the client, for the console and the metrics."""
        self._card, self._said_s = card or self._card, self.gateway.clock()
        if isinstance(result, Refusal):
            self.gateway.record_refusal(self.route, result, self.asker)
            self._refused += result.code != "bad_request"  # which `forgive` counts
            self._said = f"{result.code}: {result}"[:200]
            return
        verdict = result.chunk.verdict
        self._said = f"gate: {verdict.reason}"[:200] if verdict and not verdict.allowed else "answered"

    def row(self) -> RobotRow:
        """As the console shows it."""
        return RobotRow(
            key_id=self.asker.key.id, key_name=self.asker.key.name, address=self.asker.address,
            route=self.route, body=self._card, mode=self.mode, last=self._said, age_s=self.age_s,
            last_age_s=self.gateway.clock() - self._said_s,
        )  # fmt: skip

    def forgive(self, refusal: Refusal) -> bool:
        """Whether a client that sent this may go on; its key's faults outlive its connections."""
        return refusal.code != "bad_request" or not self._faults.take()

    async def receive(self) -> bytes | str:
        """The next message. One that comes too fast is read later: only its sender waits."""
        idle_s = None if math.isinf(self._limits.idle_s) else self._limits.idle_s
        try:
            async with asyncio.timeout(idle_s):
                message = await self._websocket.receive()
        except TimeoutError:
            await self.close(1001, "silent for too long")
            raise Disconnected from None
        if message["type"] == "websocket.disconnect":
            raise Disconnected
        data = message.get("bytes")
        data = message["text"] if data is None else data
        cost, self._refused = max(1.0, len(data) / 2**20) + _REFUSED * self._refused, 0
        while missing_s := self._bucket.take(cost):
            await asyncio.sleep(missing_s)
        return data

    async def send(self, message: bytes | str) -> None:
        websocket = self._websocket
        send = websocket.send_bytes(message) if isinstance(message, bytes) else websocket.send_text(message)
        await self._in_time(send)

    async def close(self, code: int, reason: str = "") -> None:
        await self._hold()  # meanwhile nothing is read, and who is closed again and again comes again later
        with suppress(Disconnected):
            await self._in_time(self._websocket.close(code, reason[:100]))

    async def _in_time(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._limits.send_s):
                await sending
        except (TimeoutError, WebSocketDisconnect, RuntimeError):  # starlette: RuntimeError after a close
            raise Disconnected from None


class Session(Protocol):
    """What is said on a connection, in one of the protocols."""

    async def run(self) -> None: ...


class ConnectionLimiter:
    """Opens websockets: the key first, then the number of its connections, then the upgrade."""

    def __init__(self, gateway: Gateway, auth: Authenticator) -> None:
        self.gateway, self.auth = gateway, auth
        self.open: dict[Connection, None] = {}  # the oldest first
        # Of a key, over all its connections; where no key is asked, of each connection.
        self.faults_of = lru_cache(_REMEMBERED)(
            lambda client: TokenBucket(_FAULTS_HZ, _FAULTS, gateway.clock)
        )

    async def serve(self, websocket: WebSocket, route: str, begin: Callable[[Connection], Session]) -> None:
        """Let a client in and hold its session until it ends; or refuse it by an HTTP answer.

        begin: raises Refusal for who may come in and nevertheless asks for what there is not
        """
        key = STRANGER
        try:
            key = await self.auth.key_of(websocket)
            connection = Connection(websocket, route, key, self)
            session = begin(connection)
            self._check_room(key)
        except Refusal as refusal:
            self.gateway.record_refusal(route, refusal, Asker(key=key, address=address_of(websocket)))
            await self.hold(key)
            await websocket.send_denial_response(refusal.response())
            return
        self.open[connection] = None
        gauge = self.gateway.metrics.connections.labels(route)
        try:
            with gauge.track_inprogress(), suppress(Disconnected):
                await websocket.accept()
                await session.run()
        finally:
            del self.open[connection]

    async def hold(self, key: Key) -> None:
        """Before a key, or the strangers, are told of a refusal: after many of them, up to a second."""
        if key.id != LOCAL.id:
            await asyncio.sleep(self.faults_of(f"refused {key.id}").take())

    def _check_room(self, key: Key) -> None:
        limits = self.gateway.limits
        if len(self.open) >= limits.connections:
            raise Refusal("overloaded", "too many connections are open", retry_after_s=5.0)
        of_key = sum(each.asker.key.id == key.id for each in self.open)
        if key.id != LOCAL.id and of_key >= limits.key_connections:
            raise Refusal(
                "overloaded",
                f"key {key.name!r} has {limits.key_connections} connections open, as many as it may",
                retry_after_s=5.0,
            )


def address_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""
