"""`/v1/stream`: our own websocket. See `runtime/messages.py` for what is said on it.

Questions of one connection may overlap; every answer names its question. The reader never waits for an
answer, so a ping is answered while the policy thinks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from starlette.websockets import WebSocket

from kinema.runtime.messages import PROTOCOL, chunk_message
from kinema.runtime.wire import pack
from kinema.serve.connection import Connection, ConnectionLimiter, Disconnected
from kinema.serve.decode import Decoder, message_of
from kinema.serve.describe import VERSION, card_facts
from kinema.serve.gateway import Gateway
from kinema.serve.refusal import Refusal

ROUTE = "stream"
_LARGEST_ID = 2**63
_TOLERATED_FAULTS = 20  # messages of one connection that are not ours, before it is closed


async def stream(websocket: WebSocket, connections: ConnectionLimiter, decoder: Decoder) -> None:
    """Serve one connection until it ends."""
    connection = await connections.connect(websocket, ROUTE)
    if connection is None:
        return
    session = _Session(connection, connections.gateway, decoder)
    try:
        await session.run()
    except Disconnected:
        pass
    finally:
        session.drop_questions()
        connections.done(ROUTE)


class _Session:
    def __init__(self, connection: Connection, gateway: Gateway, decoder: Decoder) -> None:
        self._connection, self._gateway, self._decoder = connection, gateway, decoder
        self._open: dict[int, asyncio.Task[None]] = {}
        self._faults = self._resets = 0

    async def run(self) -> None:
        await self._connection.send(pack(hello(self._gateway)))
        while True:
            data = await self._connection.receive()
            number: int | None = None
            try:
                message = message_of(data)
                number = _number(message)
                await self._heard(number, message)
            except Refusal as refusal:
                await self._say_error(number, refusal)
                self._faults += refusal.code == "bad_request"
                if self._faults > _TOLERATED_FAULTS:
                    await self._connection.close(refusal.close_code, "too many bad messages")
                    return

    async def _heard(self, number: int, message: Mapping[str, Any]) -> None:
        kind = message.get("type")
        if kind == "infer":
            self._begin(number, message)
        elif kind == "reset":
            self.drop_questions()
            self._resets += 1
            await self._connection.send(pack({"type": "reset", "id": number}))
        elif kind == "ping":
            await self._connection.send(pack({"type": "pong", "id": number}))
        else:
            raise Refusal("bad_request", f"type {str(kind)[:20]!r} is not known; choices: infer, reset, ping")

    def _begin(self, number: int, message: Mapping[str, Any]) -> None:
        if number in self._open:
            raise Refusal("bad_request", f"question {number} is already being answered")
        if len(self._open) >= self._gateway.limits.in_flight:
            raise Refusal(
                "overloaded",
                f"{len(self._open)} questions of this connection are unanswered",
                retry_after_s=self._gateway.service.retry_s,
            )
        session = f"{self._connection.name}.{self._resets}"
        task = asyncio.create_task(self._answer(number, message, session))
        self._open[number] = task
        task.add_done_callback(lambda done: self._forget(number, done))

    def _forget(self, number: int, done: asyncio.Task[None]) -> None:
        if self._open.get(number) is done:  # after a reset the number may stand for another question
            del self._open[number]

    async def _answer(self, number: int, message: Mapping[str, Any], session: str) -> None:
        try:
            try:
                began = time.perf_counter()
                question = await self._decoder.question(message, self._gateway, session)
                answer = await self._gateway.ask(
                    question,
                    key=await self._connection.key(),
                    route=ROUTE,
                    deadline_s=deadline_of(message.get("deadline_s")),
                )
                timing = {
                    "waited_ms": 1e3 * answer.waited_s,
                    "infer_ms": 1e3 * answer.infer_s,
                    "total_ms": 1e3 * (time.perf_counter() - began),
                    "batch": answer.batch,
                }
                await self._connection.send(pack(chunk_message(number, answer.chunk, timing)))
            except Refusal as refusal:
                await self._say_error(number, refusal)
        except Disconnected:
            pass  # the reader hears of it too

    async def _say_error(self, number: int | None, refusal: Refusal) -> None:
        self._gateway.record_refusal(ROUTE, refusal)
        await self._connection.send(pack({"type": "error", "id": number, **refusal.to_wire()}))

    def drop_questions(self) -> None:
        """Nobody waits for the open questions any more; the service throws away those not yet begun."""
        for task in self._open.values():
            task.cancel()
        self._open.clear()


def hello(gateway: Gateway) -> dict[str, Any]:
    served = gateway.served
    return {
        "type": "hello",
        "protocol": PROTOCOL,
        "server": f"kinema {VERSION}",
        "model": served.name,
        "cards": {name: card_facts(card) for name, card in served.cards.items()},
        "limits": {**gateway.limits.to_wire(), "deadline_s": gateway.service.queueing.deadline_s},
    }


def deadline_of(found: Any) -> float | None:
    """Seconds; NaN and numbers from 0 down are refused."""
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not found > 0:
        raise Refusal("bad_request", "deadline_s must be a number of seconds above 0")
    return float(min(found, 3600.0))


def _number(message: Mapping[str, Any]) -> int:
    number = message.get("id")
    if type(number) is not int or not 0 <= number < _LARGEST_ID:
        raise Refusal("bad_request", "every message needs an id, a whole number from 0")
    return number
