"""The gate in front of many sessions: each sees its own past, and a body it does not know has no verdict."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toy import ALOHA, PANDA, ToyPolicy, observation, toy_values

from kinema.schema import ActionChunk, Question

pytest.importorskip("torch")
from kinema.commands.serve.served import GatedSessions


class FakeGated:
    """Notes the earlier picture that it is shown; knows the panda only."""

    def __init__(self) -> None:
        self.policy, self.gate, self.candidates = self, self, 3
        self.bodies = ("panda",)
        config = SimpleNamespace(image_size=16)
        self.artifact = SimpleNamespace(model=SimpleNamespace(config=config))
        self.earlier: list[np.ndarray | None] = []
        self._toy = ToyPolicy()

    def answer(self, questions: Sequence[Question]) -> list[ActionChunk]:
        return self._toy.answer(questions)

    def propose(self, questions: Sequence[Question], count: int) -> list[list[ActionChunk]]:
        return [[chunk] * count for chunk in self._toy.answer(questions)]

    def pick(self, _: Any, chunks: Sequence[ActionChunk], earlier: np.ndarray | None = None) -> ActionChunk:
        self.earlier.append(earlier)
        return chunks[0]

    def decide(
        self, seen: Any, chunks: Sequence[ActionChunk], memory: Any, earlier: np.ndarray | None
    ) -> ActionChunk:
        return self.pick(seen, chunks, earlier)


def question(session: str, step: int, card: Any = PANDA) -> Question:
    seen = observation(card, px=16, seed=hash((session, step)) % 1000)
    moved = type(seen)(images=seen.images, state=seen.state, instruction="lift", time_s=0.1 * step)
    return Question(observation=moved, card=card.name, noise_seed=0, session=session)


def first(asked: Question) -> np.ndarray:
    return next(iter(asked.observation.images.values()))


def test_each_session_sees_its_own_past() -> None:
    gated = FakeGated()
    sessions = GatedSessions(gated)  # type: ignore[arg-type]
    asked = {name: [question(name, step) for step in range(3)] for name in ("a", "b")}
    for step in range(3):
        sessions.answer([asked["a"][step], asked["b"][step], question("", step)])
    assert all(earlier is None for earlier in gated.earlier[2::3])  # no session, no past
    for place, name in enumerate("ab"):
        earlier = gated.earlier[6 + place]
        assert earlier is not None
        np.testing.assert_array_equal(earlier, first(asked[name][0]))  # 0.2 s before


def test_answers_stay_in_order_where_only_some_are_judged() -> None:
    gated = FakeGated()
    asked = [question("a", 0), question("b", 1, ALOHA), question("c", 2), question("d", 3, ALOHA)]
    chunks = GatedSessions(gated).answer(asked)  # type: ignore[arg-type]
    for each, chunk in zip(asked, chunks):
        np.testing.assert_array_equal(chunk.values, toy_values(each))
    assert len(gated.earlier) == 2


def test_what_is_remembered_is_bounded() -> None:
    sessions = GatedSessions(FakeGated())  # type: ignore[arg-type]
    for number in range(300):
        sessions.answer([question(f"{number}/s", 0)])
    large = observation(PANDA, px=400)
    for step in range(40):
        seen = type(large)(images=large.images, state=large.state, instruction="lift", time_s=step / 60)
        sessions.answer([Question(observation=seen, card="panda", noise_seed=0, session="large/s")])
    memories = [memory for of_client in sessions._clients.values() for memory in of_client.values()]
    kept = sum(picture.nbytes for memory in memories for _, picture in memory._pictures)
    assert kept <= 300 * 16 * 16 * 3


def test_who_opens_many_sessions_forgets_its_own() -> None:
    gated = FakeGated()
    sessions = GatedSessions(gated)  # type: ignore[arg-type]
    sessions.answer([question("quiet/s", 0)])
    for number in range(1000):
        sessions.answer([question(f"greedy/{number}", 0)])
    assert len(sessions._clients["greedy"]) < 100
    sessions.answer([question("quiet/s", 2)])
    assert gated.earlier[-1] is not None
