"""`/v1/stream`: our own websocket. See `runtime/messages.py` for what is said on it.

Questions of one connection may overlap; every answer names its question. The reader never waits for an
answer, so a ping is answered while the policy thinks.
"""

from __future__ import annotations

import asyncio
from typing import Any

from kinema.runtime.messages import PROTOCOL, FromClient, Infer, Numbered, Reset, card_to_wire, chunk_message
from kinema.runtime.wire import pack
from kinema.serve import VERSION
from kinema.serve.connection import Connection, Disconnected
from kinema.serve.decode import message_of
from kinema.serve.gateway import Gateway
from kinema.serve.question import card_of
from kinema.serve.refusal import Refusal

_TYPES = ("infer", "reset", "ping")


class StreamSession:
    """One connection until it ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._gateway = connection, connection.gateway
        self._open: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        try:
            await self._talk()
        finally:
            await self._drop_questions()

    async def _talk(self) -> None:
        await self._connection.send(pack(hello(self._gateway)))
        while True:
            data = await self._connection.receive()
            number: int | None = None
            try:
                head = message_of(data, Numbered)
                number = head.id
                if head.type not in _TYPES:
                    told = f"type {head.type[:20]!r} is not known; choices: {', '.join(_TYPES)}"
                    raise Refusal("bad_request", told)
                await self._heard(message_of(data, FromClient))
            except Refusal as refusal:
                await self._say_error(number, refusal)
                if not self._connection.forgive(refusal):
                    await self._connection.close(refusal.close_code, "too many bad messages")
                    return

    async def _heard(self, message: FromClient) -> None:
        if isinstance(message, Infer):
            self._begin(message)
        elif isinstance(message, Reset):
            await self._drop_questions()
            self._connection.reset()
            await self._connection.send(pack({"type": "reset", "id": message.id}))
        else:
            await self._connection.send(pack({"type": "pong", "id": message.id}))

    def _begin(self, message: Infer) -> None:
        number = message.id
        if number in self._open:
            raise Refusal("bad_request", f"question {number} is already being answered")
        if len(self._open) >= self._gateway.limits.in_flight:
            raise Refusal(
                "overloaded",
                f"{len(self._open)} questions of this connection are unanswered",
                retry_after_s=self._gateway.service.retry_s,
            )
        card = card_of(message.card, self._gateway.served.cards).name
        task = asyncio.create_task(self._answer(message, card, self._connection.session))
        under_way = self._open  # until a reset: after it the number may stand for another question
        under_way[number] = task
        task.add_done_callback(lambda _: under_way.pop(number))

    async def _answer(self, message: Infer, card: str, session: str) -> None:
        connection, gateway = self._connection, self._gateway
        connection.mode = message.mode or ""
        try:
            try:
                began = gateway.clock()
                asker = await connection.asker_now()
                answer = await gateway.answer(message, asker, connection.route, session)
                timing = answer.timing | {"total_ms": 1e3 * (gateway.clock() - began)}
                connection.note(answer, card)
                await connection.send(pack(chunk_message(message.id, answer.chunk, timing)))
            except Refusal as refusal:
                await self._say_error(message.id, refusal, card)
        except Disconnected:
            pass  # the reader hears of it too

    async def _say_error(self, number: int | None, refusal: Refusal, card: str = "") -> None:
        self._connection.note(refusal, card)
        await self._connection.send(pack({"type": "error", "id": number, **refusal.to_wire()}))

    async def _drop_questions(self) -> None:
        """Nobody waits for the open questions any more; the service throws away those not yet begun."""
        dropped, self._open = list(self._open.values()), {}
        for task in dropped:
            task.cancel()
        await asyncio.gather(*dropped, return_exceptions=True)


def hello(gateway: Gateway) -> dict[str, Any]:
    served = gateway.served
    return {
        "type": "hello",
        "protocol": PROTOCOL,
        "server": f"kinema {VERSION}",
        "model": served.name,
        "cards": {name: card_to_wire(card) for name, card in served.cards.items()},
        "limits": {**gateway.limits.to_wire(), "deadline_s": gateway.service.queueing.deadline_s},
    }
