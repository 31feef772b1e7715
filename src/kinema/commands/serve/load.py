"""Many clients that ask as fast as they can, and what became of every single question.

Each client has one connection and one question under way. A refused client comes back after `back_off_s`,
sooner than it was told to, so that the server stays beyond its capacity all the time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from kinema.runtime.messages import infer_message
from kinema.runtime.wire import pack, unpack
from kinema.schema import Observation, Question


@dataclass(frozen=True, kw_only=True)
class Load:
    """url: of the stream. deadline_s: what each question asks for; grace_s: what the way may add to it."""

    url: str
    clients: int
    seconds: float
    deadline_s: float = 2.0
    grace_s: float = 1.0
    back_off_s: float = 0.05
    api_key: str | None = None


@dataclass(kw_only=True)
class Outcome:
    """What came back. Times in seconds, from sending a question to its answer or refusal."""

    asked: int = 0
    answered_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    late: int = 0  # neither answered nor refused within deadline and grace
    wrong: int = 0  # an answer to another question
    lost: int = 0  # connections that ended, or were not made
    lasted_s: float = 0.0

    @property
    def unanswered(self) -> int:
        return self.asked - len(self.answered_s) - len(self.refused_s)

    def quantile_ms(self, times_s: list[float], q: float) -> float:
        return 1e3 * float(np.quantile(times_s, q)) if times_s else float("nan")


async def press(load: Load, observation: Observation, card: str, each_second: Callable[[], None]) -> Outcome:
    """Ask for `seconds` with all clients; `each_second` is called meanwhile."""
    outcome, began = Outcome(), time.perf_counter()
    until_s = began + load.seconds
    clients = [_client(load, observation, card, outcome, until_s, seed) for seed in range(load.clients)]
    ticking = asyncio.create_task(_tick(each_second))
    await asyncio.gather(*clients)
    ticking.cancel()
    outcome.lasted_s = time.perf_counter() - began
    return outcome


async def _tick(each_second: Callable[[], None]) -> None:
    while True:
        each_second()
        await asyncio.sleep(1.0)


async def _client(
    load: Load, observation: Observation, card: str, outcome: Outcome, until_s: float, seed: int
) -> None:
    headers = {"Authorization": f"Api-Key {load.api_key}"} if load.api_key else None
    number = 0
    while time.perf_counter() < until_s:
        try:
            async with connect(
                load.url, compression=None, additional_headers=headers, proxy=None, open_timeout=30
            ) as socket:
                await socket.recv()
                while time.perf_counter() < until_s:
                    number += 1
                    question = Question(observation=observation, card=card, noise_seed=(seed << 32) + number)
                    if not await _ask(load, socket, number, question, outcome):
                        await asyncio.sleep(load.back_off_s)
        except (OSError, WebSocketException, TimeoutError):
            outcome.lost += 1
            await asyncio.sleep(load.back_off_s)


async def _ask(
    load: Load, socket: ClientConnection, number: int, question: Question, outcome: Outcome
) -> bool:
    """Whether the question was answered. Raises TimeoutError where nothing came in time."""
    message = pack(infer_message(number, question, load.deadline_s))
    began = time.perf_counter()
    outcome.asked += 1
    await socket.send(message)
    try:
        async with asyncio.timeout(load.deadline_s + load.grace_s):
            data = await socket.recv()
    except TimeoutError:
        outcome.late += 1
        raise
    took_s = time.perf_counter() - began
    answer = unpack(data) if isinstance(data, bytes) else {}
    outcome.wrong += answer.get("id") != number
    if answer.get("type") == "chunk":
        outcome.answered_s.append(took_s)
        return True
    outcome.refused_s.append(took_s)
    outcome.codes[str(answer.get("code"))] += 1
    return False
