"""Where every route hands in its questions: who asks, may they, what came of it, and who is told.

The order matters: the usage must be writable before work begins, the key's rate and quota are taken before
the question waits, and what an answer used is written down before the answer leaves (in `Service`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kinema.schema import Question
from kinema.serve.activity import Activity
from kinema.serve.keys import LOCAL, Key
from kinema.serve.limits import Limits
from kinema.serve.metrics import Metrics
from kinema.serve.rates import RateLimiter
from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer, Served, Service
from kinema.serve.usage import Usage, UsageError


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The composition that routes see."""

    service: Service
    limits: Limits
    metrics: Metrics
    activity: Activity
    usage: Usage | None = None
    rates: RateLimiter | None = None
    clock: Callable[[], float] = field(default=time.monotonic)

    @property
    def served(self) -> Served:
        return self.service.served

    async def ask(
        self, question: Question, *, key: Key = LOCAL, route: str, deadline_s: float | None = None
    ) -> Answer:
        """The answer, accounted for. Raises Refusal."""
        began = self.clock()
        entry = self.activity.begin(key, question.card, route)
        try:
            answer = await self._admitted(question, key, deadline_s)
        except Refusal as refusal:
            self.activity.end(entry, refusal)
            raise
        except BaseException:
            self.activity.end(entry, None)  # the client went away
            raise
        self.metrics.answered(route, answer, self.clock() - began)
        self.activity.end(entry, answer)
        return answer

    def record_refusal(self, route: str, refusal: Refusal) -> None:
        """Every route calls this for every refusal it passes on."""
        self.metrics.refused(route, refusal)

    async def _admitted(self, question: Question, key: Key, deadline_s: float | None) -> Answer:
        actions = self.served.cards[question.card].chunk
        self._admit(key, actions)
        try:
            return await self.service.ask(question, asker=key.id, deadline_s=deadline_s)
        finally:
            if self.rates is not None:
                self.rates.give_back(key, actions)

    def _admit(self, key: Key, actions: int) -> None:
        try:
            if self.usage is not None:
                self.usage.admit()
        except UsageError as error:
            raise Refusal("metering_failed", str(error), retry_after_s=1.0) from None
        if self.rates is not None:
            self.rates.take(key, actions)


def metered_by(usage: Usage, model: str) -> Callable[[str, Answer], None]:
    """The service's meter: a refused chunk is not charged, because nothing of it may be executed."""

    def record(key_id: str, answer: Answer) -> None:
        verdict = answer.chunk.verdict
        actions = len(answer.chunk.values) if verdict is None or verdict.allowed else 0
        usage.record(key_id, model, answer.chunk.card, actions, 1e3 * answer.infer_s / answer.batch)

    return record
