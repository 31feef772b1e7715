"""Asking a policy without waiting for it. One question is under way at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from kinema.schema import ActionChunk, Observation, Policy


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A question with the number by which its answer is known again."""

    number: int
    observation: Observation
    card: str
    committed: ActionChunk | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back for question `number`: a chunk, or the error that came instead."""

    number: int
    chunk: ActionChunk | None
    error: BaseException | None = None


class Inference(Protocol):
    @property
    def busy(self) -> bool:
        """Whether a question is still being answered: another one cannot be asked yet."""
        ...

    def ask(self, question: Ask, now_s: float) -> None: ...

    def poll(self, now_s: float) -> Answer | None:
        """The answer, once."""
        ...

    def close(self) -> None: ...


class ThreadedInference:
    """A thread that asks the policy, for clocks that do not wait.

    It is a daemon: a lost server may never answer, and the program must still be able to end.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._questions: SimpleQueue[tuple[Ask, Future[ActionChunk]] | None] = SimpleQueue()
        self._under_way: tuple[Ask, Future[ActionChunk]] | None = None
        Thread(target=self._work, name="kinema-policy", daemon=True).start()

    @property
    def busy(self) -> bool:
        return self._under_way is not None

    def ask(self, question: Ask, now_s: float) -> None:
        assert self._under_way is None, "one question at a time"
        self._under_way = (question, Future())
        self._questions.put(self._under_way)

    def poll(self, now_s: float) -> Answer | None:
        if self._under_way is None or not self._under_way[1].done():
            return None
        (question, future), self._under_way = self._under_way, None
        error = future.exception()
        return Answer(number=question.number, chunk=None if error else future.result(), error=error)

    def close(self) -> None:
        """Take no more questions. The one under way is not waited for."""
        self._questions.put(None)

    def _work(self) -> None:
        while (taken := self._questions.get()) is not None:
            question, future = taken
            try:
                future.set_result(self._policy.infer(question.observation, question.card, question.committed))
            except Exception as error:  # carried over to the loop's thread, which sorts it there
                future.set_exception(error)


class SimulatedInference:
    """Answers at once and hands the answer over when the simulated latency has passed.

    latency_s: of question 0, 1, 2, ...; infinite for an answer that is lost (the next question is taken
    nevertheless). What the policy raises reaches the loop as an answer would.
    """

    def __init__(self, policy: Policy, latency_s: Callable[[int], float]) -> None:
        self._policy, self._latency_s = policy, latency_s
        self._waiting: tuple[float, Answer] | None = None

    @property
    def busy(self) -> bool:
        return self._waiting is not None and self._waiting[0] < float("inf")

    def ask(self, question: Ask, now_s: float) -> None:
        latency_s = self._latency_s(question.number)
        chunk = self._policy.infer(question.observation, question.card, question.committed)
        self._waiting = (now_s + latency_s, Answer(number=question.number, chunk=chunk))

    def poll(self, now_s: float) -> Answer | None:
        if self._waiting is None or self._waiting[0] > now_s + 1e-6:
            return None
        answer, self._waiting = self._waiting[1], None
        return answer

    def close(self) -> None:
        self._waiting = None
