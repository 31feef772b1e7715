"""A policy that needs no network, and a real server around it in this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI

from kinema.card.load import load_card
from kinema.schema import ActionChunk, KinemaError, Observation, Question, Verdict
from kinema.serve.app import Listening, Server, make_app, uvicorn_config
from kinema.serve.service import Served

PANDA, ALOHA = load_card("panda"), load_card("aloha")


class ToyPolicy:
    """Answers with the state plus a ramp and the noise seed, so that an answer proves its question.

    sleep_s:  what a batch costs
    verdict:  put on every chunk
    An instruction "refuse me" is a question the policy refuses; "crash" is a fault of its own.
    """

    def __init__(self, sleep_s: float = 0.0, verdict: Verdict | None = None) -> None:
        self.sleep_s, self.verdict = sleep_s, verdict
        self.batches: list[int] = []

    def answer(self, questions: Sequence[Question]) -> list[ActionChunk]:
        for question in questions:
            if question.observation.instruction == "refuse me":
                raise KinemaError("the state is not one a panda can be in")
            if question.observation.instruction == "crash":
                raise ZeroDivisionError("secret path /home/someone/policy.py")
        self.batches.append(len(questions))
        if self.sleep_s:
            time.sleep(self.sleep_s)
        return [self._chunk(question) for question in questions]

    def _chunk(self, question: Question) -> ActionChunk:
        return ActionChunk(
            values=toy_values(question),
            times_s=question.observation.time_s + 0.1 * np.arange(1, 5),
            card=question.card,
            verdict=self.verdict,
        )


def toy_values(question: Question) -> np.ndarray:
    state = np.asarray(question.observation.state, np.float64)
    brightness = sum(float(image.mean()) for image in question.observation.images.values())
    ramp = np.arange(4)[:, None] * 1e-3
    return state[None] + ramp + brightness + question.noise_seed % 1000


def observation(card: Any = PANDA, *, px: int = 32, seed: int = 0, instruction: str = "lift") -> Observation:
    rng = np.random.default_rng(seed)
    low, high = np.array([channel.range for channel in card.states]).T
    return Observation(
        images={c: rng.integers(0, 256, (px, px, 3), dtype=np.uint8) for c in card.camera_names},
        state=rng.uniform(low, high).astype(np.float32),
        instruction=instruction,
        time_s=float(seed),
    )


def toy_served(policy: Any = None, cards: Sequence[Any] = (PANDA, ALOHA)) -> Served:
    return Served(name="toy", cards={card.name: card for card in cards}, policy=policy or ToyPolicy())


class Running:
    """A server that listens."""

    def __init__(self, app: FastAPI, port: int, server: uvicorn.Server) -> None:
        self.app, self.port, self.server = app, port, server
        self.accounts: Any = None
        self.host = f"127.0.0.1:{port}"
        self.http, self.ws = f"http://{self.host}", f"ws://{self.host}"

    @property
    def addresses(self) -> Any:
        """Open connections by address, as the server counts them."""
        return self.server.config.http_protocol_class.addresses  # type: ignore[union-attr]

    def connect_raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)


@contextmanager
def running(
    app: FastAPI | None = None, listening: Listening | None = None, **options: Any
) -> Iterator[Running]:
    """The app (default: one around a toy policy) on a free port of this machine."""
    listening = listening or Listening(port=0)
    app = app or make_app(toy_served(), listening=listening, **options)
    config = uvicorn_config(app, listening)
    config.timeout_graceful_shutdown = 1  # some tests leave connections that wait
    server = Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the server ended"
        assert time.monotonic() < until, "the server did not start"
        time.sleep(0.005)
    try:
        yield Running(app, server.servers[0].sockets[0].getsockname()[1], server)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive(), "the server did not stop"
