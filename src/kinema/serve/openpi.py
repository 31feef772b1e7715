"""openpi's websocket on `/`, so that its clients work as they are.

On connecting the server sends one binary frame with metadata. Then question and answer alternate: a map with
pictures, state and prompt goes up, `actions` (T, D) come down in the card's native values. An error is a
text frame with one sentence, after which the connection is closed with 1011.

The protocol has no place for a body's name, nor for the rate at which the client plays what it gets: both
stand in the address, `/?card=NAME&hz=RATE`; else the first card served is meant, and a rate that no usual
runtime exceeds, because a body that is played too slowly moves slowly. It has none for a verdict either, and
its clients execute what they get: where the gate refuses a chunk, they get the card's hold action instead,
and are told under `verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from kinema.card.card import EmbodimentCard
from kinema.runtime.messages import card_to_wire, verdict_to_wire
from kinema.runtime.playback import LEAST_HZ, MOST_HZ, Playback
from kinema.runtime.wire import pack
from kinema.schema import KinemaError, Question, noise_seed
from kinema.serve import VERSION
from kinema.serve.connection import Connection
from kinema.serve.decode import map_of
from kinema.serve.openpi_keys import is_slow, observation_of
from kinema.serve.question import card_of
from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer

_CLOSE_ERROR = 1011


@dataclass(frozen=True, kw_only=True)
class OpenpiOptions:
    """hz: the rate where an address names none: openpi's fastest. guard: hold the card's limits at it."""

    hz: float = 50.0
    guard: bool = True

    def __post_init__(self) -> None:
        if not LEAST_HZ <= self.hz <= MOST_HZ:
            raise KinemaError(f"a client plays {LEAST_HZ:g} to {MOST_HZ:g} actions a second; got {self.hz}")


class OpenpiSession:
    """One connection until it ends. Raises Refusal where its address asks for what there is not."""

    def __init__(self, connection: Connection, options: OpenpiOptions) -> None:
        self._connection, self._gateway, self._options = connection, connection.gateway, options
        cards, query = self._gateway.served.cards, connection.query
        self._card = card_of(query.get("card", next(iter(cards))), cards)
        try:
            hz = self._hz = float(query.get("hz", options.hz))
        except ValueError:
            hz = 0.0
        if not LEAST_HZ <= hz <= MOST_HZ:
            raise Refusal("bad_request", f"hz must be a number from {LEAST_HZ:g} to {MOST_HZ:g}")
        self._playback = cache(lambda name: Playback(cards[name], hz, guard=options.guard))
        self._asked = 0
        self._previous_s: float | None = None

    async def run(self) -> None:
        clock = self._gateway.clock
        try:
            await self._connection.send(pack(self._metadata()))
            while True:
                data = await self._connection.receive()
                began = clock()
                await self._connection.send(pack(await self._answered(data)))
                self._previous_s = clock() - began
        except Refusal as refusal:
            self._connection.note(refusal)
            await self._connection.send(f"{refusal.code}: {refusal}")
            await self._connection.close(_CLOSE_ERROR, refusal.code)

    def _metadata(self) -> dict[str, Any]:
        """The first frame: what is served here, and at which rate the answers' rows are to be played."""
        served = self._gateway.served
        return {
            "server": f"kinema {VERSION}",
            "model": served.name,
            "card": self._card.name,
            "control_hz": self._hz,
            "action_horizon": self._playback(self._card.name).rows,
            "guarded": self._options.guard,
            "idle_s": self._gateway.limits.to_wire()["idle_s"],
            "cards": {name: card_to_wire(each) for name, each in served.cards.items()},
        }

    async def _answered(self, data: bytes | str) -> dict[str, Any]:
        message: dict[str, Any] = map_of(data)
        if message.get("reset") is True or message.get("endpoint") == "reset":
            self._connection.reset()
            self._asked = 0
            return {"status": "reset"}
        gateway, connection = self._gateway, self._connection
        card = card_of(message["card"], gateway.served.cards) if "card" in message else self._card
        began = gateway.clock()
        session, time_s = connection.session, connection.age_s  # the client tells no time
        seed = noise_seed(0, self._asked)
        self._asked += 1

        def read() -> Question:
            seen = observation_of(message, card, gateway.served, gateway.limits, time_s=time_s)
            return Question(observation=seen, card=card.name, noise_seed=seed, session=session)

        asker, route = await connection.asker_now(), connection.route
        answer = await gateway.ask(read, card=card.name, slow=is_slow(message), asker=asker, route=route)
        actions = await gateway.decoder.run(partial(self._played, card, answer), asker.name)
        connection.note(answer, card.name)
        server_timing = {"infer_ms": 1e3 * (gateway.clock() - began)}
        if self._previous_s is not None:
            server_timing["prev_total_ms"] = 1e3 * self._previous_s
        result: dict[str, Any] = {
            "actions": actions,
            "policy_timing": {"infer_ms": 1e3 * answer.infer_s},
            "server_timing": server_timing,
        }
        if answer.chunk.verdict is not None:
            result["verdict"] = verdict_to_wire(answer.chunk.verdict)
        return result

    def _played(self, card: EmbodimentCard, answer: Answer) -> Any:
        playback, seen = self._playback(card.name), answer.question.observation
        try:
            return playback.actions(seen, answer.chunk) if answer.chunk.allowed else playback.hold(seen)
        except KinemaError as error:
            raise Refusal("bad_request", str(error)) from None
