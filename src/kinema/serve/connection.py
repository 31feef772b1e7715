"""One websocket with its limits: how fast it may speak, how long be silent, how slowly read."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from kinema.serve.auth import Authenticator
from kinema.serve.gateway import Gateway
from kinema.serve.keys import Key
from kinema.serve.limits import TokenBucket
from kinema.serve.refusal import Refusal


class Disconnected(Exception):  # noqa: N818 - not a fault
    """The client closed, was too slow, or was silent for too long. Nothing more can be said to it."""


class Connection:
    """An accepted websocket. `receive` and `send` raise Disconnected when it is over."""

    def __init__(self, websocket: WebSocket, gateway: Gateway, auth: Authenticator) -> None:
        self._websocket, self._limits, self._auth = websocket, gateway.limits, auth
        self.name = secrets.token_hex(8)  # of the session, for what is remembered between its questions
        self._bucket = TokenBucket(gateway.limits.message_hz, gateway.limits.burst, gateway.clock)

    @property
    def query(self) -> Mapping[str, str]:
        return self._websocket.query_params

    async def key(self) -> Key:
        """Whose it is now: a key may be revoked, or its quota changed, while it is open. Raises Refusal."""
        return await self._auth.key_of(self._websocket.headers)

    async def receive(self, idle_s: float | None = None) -> bytes | str:
        """The next message. One that comes too fast is read later: only its sender waits.

        idle_s: how long to wait, the limit if None.
        """
        try:
            async with asyncio.timeout(idle_s or self._limits.idle_s):
                message = await self._websocket.receive()
        except TimeoutError:
            await self.close(1001, "silent for too long")
            raise Disconnected from None
        if message["type"] == "websocket.disconnect":
            raise Disconnected
        while missing_s := self._bucket.take():
            await asyncio.sleep(missing_s)
        data = message.get("bytes")
        return message["text"] if data is None else data

    async def send(self, message: bytes | str) -> None:
        try:
            async with asyncio.timeout(self._limits.send_s):
                if isinstance(message, bytes):
                    await self._websocket.send_bytes(message)
                else:
                    await self._websocket.send_text(message)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):  # starlette: RuntimeError after a close
            raise Disconnected from None

    async def close(self, code: int, reason: str = "") -> None:
        try:
            async with asyncio.timeout(self._limits.send_s):
                await self._websocket.close(code, reason[:100])
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            pass


class ConnectionLimiter:
    """Opens websockets: the key first, then the number of connections, then the upgrade."""

    def __init__(self, gateway: Gateway, auth: Authenticator) -> None:
        self.gateway, self._auth, self.open = gateway, auth, 0

    async def connect(self, websocket: WebSocket, route: str) -> Connection | None:
        """An accepted connection, to be handed to `done`; None when it was refused by an HTTP answer."""
        try:
            await self._auth.key_of(websocket.headers)
            if self.open >= self.gateway.limits.connections:
                raise Refusal("overloaded", "too many connections are open", retry_after_s=5.0)
        except Refusal as refusal:
            self.gateway.record_refusal(route, refusal)
            await websocket.send_denial_response(
                JSONResponse(refusal.to_wire(), refusal.status, refusal.headers)
            )
            return None
        self.open += 1
        self.gateway.metrics.connections.labels(route).inc()
        try:
            await websocket.accept()
        except BaseException:
            self.done(route)
            raise
        return Connection(websocket, self.gateway, self._auth)

    def done(self, route: str) -> None:
        self.open -= 1
        self.gateway.metrics.connections.labels(route).dec()
