"""Where every route hands in its questions: who asks, may they, what came of it, and who is told.

The order matters: whether the key may ask, and whether its usage could be written down, is known before any
work is begun; then pictures are decoded and the question waits, both by turns of the askers and both within
its time; and what an answer used is written down before the answer leaves (in `Service`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from kinema.runtime.messages import Asked
from kinema.schema import Question
from kinema.serve.activity import Activity
from kinema.serve.decode import Decoder
from kinema.serve.keys import LOCAL, Key
from kinema.serve.limits import Limits
from kinema.serve.metrics import Metrics
from kinema.serve.pictures import is_slow
from kinema.serve.question import card_of, question_of
from kinema.serve.rates import RateLimiter, TokenBucket
from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer, Meter, Served, Service
from kinema.serve.usage import Usage

log = logging.getLogger("kinema.serve")


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Whose question it is. name: who takes turns with others: a key, or a connection where none is asked."""

    key: Key = LOCAL
    name: str = LOCAL.id
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The composition that routes see."""

    service: Service
    limits: Limits
    metrics: Metrics
    activity: Activity
    decoder: Decoder = field(default_factory=Decoder)
    usage: Usage | None = None
    rates: RateLimiter | None = None
    clock: Callable[[], float] = field(default=time.monotonic)
    _in_flight: Counter[str] = field(default_factory=Counter)
    _logged: TokenBucket = field(default_factory=lambda: TokenBucket(0.2, 10))

    @property
    def served(self) -> Served:
        return self.service.served

    async def ask(
        self, read: Callable[[], Question], *, card: str, slow: bool, asker: Asker, route: str,
        deadline_s: float | None = None,
    ) -> Answer:  # fmt: skip
        """The answer, accounted for. Raises Refusal.

        read: makes the question, or raises Refusal; slow: that takes long and belongs in a thread
        """
        began = self.clock()
        entry = self.activity.begin(asker.key, card, route)
        try:
            with self._admitted(asker, self.served.cards[card].chunk):
                answer = await self._answered(read, slow, asker, deadline_s)
        except BaseException as error:  # what is no refusal: the client went away
            self.activity.end(entry, error if isinstance(error, Refusal) else None)
            raise
        self.metrics.answered(route, answer, self.clock() - began)
        self.activity.end(entry, answer)
        return answer

    async def answer(self, asked: Asked, asker: Asker, route: str, session: str = "") -> Answer:
        """`ask` what a message or a request of ours asks for. Raises Refusal."""
        return await self.ask(
            partial(question_of, asked, self.served, self.limits, session),
            card=card_of(asked.card, self.served.cards).name,
            slow=is_slow(asked.observation.images),
            asker=asker,
            route=route,
            deadline_s=asked.deadline_s,
        )

    async def _answered(
        self, read: Callable[[], Question], slow: bool, asker: Asker, deadline_s: float | None
    ) -> Answer:
        most_s = self.service.queueing.deadline_s
        until_s = self.clock() + min(deadline_s or most_s, most_s)
        try:
            async with asyncio.timeout(until_s - self.clock()):
                question = await self.decoder.run(read, asker.name) if slow else read()
        except TimeoutError:
            raise Refusal("late", "the pictures were not decoded in time", retry_after_s=1.0) from None
        left_s = max(1e-3, until_s - self.clock())
        return await self.service.ask(question, asker=asker.name, key_id=asker.key.id, deadline_s=left_s)

    @contextmanager
    def _admitted(self, asker: Asker, actions: int) -> Iterator[None]:
        """Raises Refusal where this key may not ask now. Inside, its question counts as under way."""
        if self.usage is not None and (fault := self.usage.fault):
            raise Refusal("metering_failed", fault, retry_after_s=1.0)
        if self._in_flight[asker.name] >= self.limits.key_in_flight:
            under_way = f"{self._in_flight[asker.name]} questions of this key are unanswered"
            raise Refusal("overloaded", under_way, retry_after_s=self.service.retry_s)
        if self.rates is not None:
            self.rates.take(asker.key, actions)
        self._in_flight[asker.name] += 1
        try:
            yield
        finally:
            self._in_flight[asker.name] -= 1
            if not self._in_flight[asker.name]:
                del self._in_flight[asker.name]
            if self.rates is not None:
                self.rates.give_back(asker.key, actions)

    def troubles(self) -> tuple[list[str], list[str]]:
        """Why questions are not answered now, and what else is wrong; sentences, empty where all is well."""
        service, usage = self.service, self.usage
        refusing = [] if service.alive else ["the inference thread has ended"]
        if service.busy_s > service.queueing.deadline_s:
            refusing.append(f"the policy has been at one batch for {service.busy_s:.0f} s")
        degraded = []
        if service.waiting >= service.queueing.largest_queue:
            degraded.append(f"{service.waiting} questions are waiting: who asks most is refused")
        if usage is not None and usage.fault:
            refusing.append(usage.fault)
        if usage is not None and usage.trouble:
            degraded.append(f"{usage.backlog} rows of usage wait to be booked: {usage.trouble}")
        return refusing, degraded

    def record_refusal(self, route: str, refusal: Refusal, asker: Asker) -> None:
        """Every route calls this for every refusal it passes on; who was not let in has a key without id."""
        self.metrics.refused(route, refusal)
        self.activity.refused(route, refusal, asker.key, asker.address)
        if not asker.key.id and not self._logged.take():
            log.warning("%s: %s was refused: %s (%s)", route, asker.address, refusal.code, refusal)


def metered_by(usage: Usage, model: str) -> Meter:
    """The service's meter: a refused chunk is not charged, because nothing of it may be executed."""

    def record(answers: Sequence[tuple[str, Answer]]) -> None:
        usage.record([
            (key_id, model, answer.chunk.card, len(answer.chunk.values) if answer.chunk.allowed else 0,
             1e3 * answer.infer_s / answer.batch)
            for key_id, answer in answers
        ])  # fmt: skip

    return record
