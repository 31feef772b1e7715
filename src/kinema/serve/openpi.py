"""openpi's websocket on `/`, so that its clients work as they are.

On connecting the server sends one binary frame with metadata. Then question and answer alternate: a map with
pictures, state and prompt goes up, `actions` (T, D) come down in the card's native values. An error is a
text frame with one sentence, after which the connection is closed with 1011.

The protocol has no place for a body's name: `/?card=NAME`, or a key `card` in the observation, or else the
first card served. It has none for a verdict either, and its clients execute what they get: where the gate
refuses a chunk, they get the card's hold action instead, and are told under `verdict`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from starlette.websockets import WebSocket

from kinema.card.card import EmbodimentCard
from kinema.runtime.messages import verdict_to_wire
from kinema.runtime.policy import hold_action
from kinema.runtime.wire import pack
from kinema.schema import Observation, Question, noise_seed
from kinema.serve.connection import Connection, ConnectionLimiter, Disconnected
from kinema.serve.decode import Decoder, message_of
from kinema.serve.describe import VERSION, card_facts
from kinema.serve.gateway import Gateway
from kinema.serve.limits import is_encoded
from kinema.serve.openpi_keys import observation_of
from kinema.serve.question import card_of
from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer

ROUTE = "openpi"
_CLOSE_ERROR = 1011


async def openpi(websocket: WebSocket, connections: ConnectionLimiter, decoder: Decoder) -> None:
    """Serve one connection until it ends."""
    connection = await connections.connect(websocket, ROUTE)
    if connection is None:
        return
    try:
        await _Session(connection, connections.gateway, decoder).run()
    except Disconnected:
        pass
    finally:
        connections.done(ROUTE)


class _Session:
    def __init__(self, connection: Connection, gateway: Gateway, decoder: Decoder) -> None:
        self._connection, self._gateway, self._decoder = connection, gateway, decoder
        self._asked = 0
        self._previous_s: float | None = None

    async def run(self) -> None:
        try:
            cards = self._gateway.served.cards
            card = card_of(self._connection.query.get("card", next(iter(cards))), cards)
            await self._connection.send(pack(metadata(self._gateway, card)))
            while True:
                data = await self._connection.receive()
                began = time.perf_counter()
                await self._connection.send(pack(await self._answered(data, card)))
                self._previous_s = time.perf_counter() - began
        except Refusal as refusal:
            self._gateway.record_refusal(ROUTE, refusal)
            await self._connection.send(f"{refusal.code}: {refusal}")
            await self._connection.close(_CLOSE_ERROR, refusal.code)

    async def _answered(self, data: bytes | str, card: EmbodimentCard) -> dict[str, Any]:
        message = message_of(data)
        if "card" in message:
            card = card_of(message["card"], self._gateway.served.cards)
        began = time.perf_counter()
        make = partial(
            observation_of, message, card, self._gateway.limits, time_s=self._asked / card.control_hz
        )
        observation = await self._decoder.run(make) if _is_encoded(message) else make()
        question = Question(
            observation=observation,
            card=card.name,
            noise_seed=noise_seed(0, self._asked),
            session=self._connection.name,
        )
        self._asked += 1
        answer = await self._gateway.ask(question, key=await self._connection.key(), route=ROUTE)
        return self._result(answer, observation, time.perf_counter() - began)

    def _result(self, answer: Answer, observation: Observation, took_s: float) -> dict[str, Any]:
        server_timing = {"infer_ms": 1e3 * took_s}
        if self._previous_s is not None:
            server_timing["prev_total_ms"] = 1e3 * self._previous_s
        verdict = answer.chunk.verdict
        result: dict[str, Any] = {
            "actions": answer.chunk.values,
            "policy_timing": {"infer_ms": 1e3 * answer.infer_s},
            "server_timing": server_timing,
        }
        if verdict is not None:
            result["verdict"] = verdict_to_wire(verdict)
        if verdict is not None and not verdict.allowed:
            card = self._gateway.served.cards[answer.chunk.card]
            held = hold_action(card, observation.state)
            result["actions"] = np.tile(held, (len(answer.chunk.values), 1))
        return result


def metadata(gateway: Gateway, card: EmbodimentCard) -> dict[str, Any]:
    """The first frame: what is served here, and which body is meant when a question does not say."""
    return {
        "server": f"kinema {VERSION}",
        "model": gateway.served.name,
        "card": card.name,
        "cards": {name: card_facts(each) for name, each in gateway.served.cards.items()},
    }


def _is_encoded(message: Mapping[str, Any]) -> bool:
    return is_encoded(message) or is_encoded(message.get("images"))
