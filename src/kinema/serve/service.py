"""Questions of several clients, answered in batches by one thread; the event loop never waits for a network.

A lone client is answered at once. While a batch is being answered the next questions wait, so batches form
by themselves; a short window collects the clients that were asking together a moment ago. What cannot be
answered in time is refused when it arrives, not after it has waited. Askers take turns, no batch is made
longer than `longest_batch_s`, and while several ask, who has had its turn joins one only where that makes it
hardly any longer: whatever one asker sends, another waits for one batch and its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import linear_regression
from typing import Protocol

from kinema.card.card import EmbodimentCard
from kinema.schema import ActionChunk, KinemaError, Question
from kinema.serve.refusal import Refusal
from kinema.serve.turns import Turns

log = logging.getLogger("kinema.serve")
_HARDLY, _JUDGED_BY = 1.1, 50  # times as long; batches


class Answerer(Protocol):
    """A policy, or a policy behind its gate: one chunk for each question, drawn in one batch."""

    def answer(self, questions: Sequence[Question]) -> list[ActionChunk]: ...


@dataclass(frozen=True, kw_only=True)
class Served:
    """What is served: a policy under a name and the bodies it knows.

    check_instruction: told a card's name and an instruction; raises KinemaError for one that the policy
                       cannot read, such as one of too many tokens
    """

    name: str
    cards: Mapping[str, EmbodimentCard]
    policy: Answerer
    provenance: Mapping[str, object] = field(default_factory=dict)
    check_instruction: Callable[[str, str], None] = lambda card, instruction: None


@dataclass(frozen=True, kw_only=True)
class Queueing:
    """How questions wait.

    window_s:      how long a batch waits for clients that asked together with it the last time
    largest_batch: questions answered together
    longest_batch_s: how long a batch of several may take, by what questions have cost so far
    largest_queue: questions that may wait; one more takes the place of the newest of whom most wait, or is
                   refused where that is its own asker
    deadline_s:    how long an answer may take from arrival, unless a question asks for less
    """

    window_s: float = 0.002
    largest_batch: int = 16
    longest_batch_s: float = 0.25
    largest_queue: int = 64
    deadline_s: float = 5.0

    def __post_init__(self) -> None:
        times_s = (self.deadline_s, self.longest_batch_s)
        if min(self.largest_batch, self.largest_queue) < 1 or min(times_s) <= 0 or self.window_s < 0:
            raise KinemaError(f"queueing needs sizes of at least 1 and times above 0; got {self}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A chunk and how long it took: waiting, being answered (the whole batch), and with how many others."""

    question: Question
    chunk: ActionChunk
    waited_s: float
    infer_s: float
    batch: int

    @property
    def timing(self) -> dict[str, float]:
        """As a client is told."""
        return {"waited_ms": 1e3 * self.waited_s, "infer_ms": 1e3 * self.infer_s, "batch": self.batch}


@dataclass(eq=False)
class _Job:
    question: Question
    asker: str
    key_id: str
    arrived_s: float
    due_s: float
    answered: asyncio.Future[Answer]
    given_up: bool = False  # nobody waits for the answer any more


Meter = Callable[[Sequence[tuple[str, Answer]]], None]


class Service:
    """Owns the inference thread. `ask` is for the event loop; everything else runs on the thread.

    meter: told (key id, answer) of a batch before it is handed out, on the inference thread; when it raises,
           all its askers are refused: what was not written down is not delivered.
    """

    def __init__(
        self,
        served: Served,
        queueing: Queueing | None = None,
        *,
        meter: Meter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.served, self.queueing = served, queueing or Queueing()
        self._meter, self._clock = meter, clock
        self._waiting: Turns[_Job] = Turns(self.queueing.largest_queue)
        self._changed = threading.Condition()
        self.answering = 0  # questions in the batch under way
        self._began_s: float | None = None  # of the batch under way
        self._asker: str | None = None  # of the newest question
        self._several_s = -math.inf  # when last it was another's than the one before
        self._last: deque[tuple[int, float]] = deque([(0, 0.0)], maxlen=_JUDGED_BY)  # batches: size, seconds
        self._per_question_s = 0.0  # running mean of what one more question in a batch costs
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="kinema-infer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Refuse what waits, finish what is being answered."""
        with self._changed:
            self._stopping = True
            left = self._waiting.clear()
            self._changed.notify_all()
        _hand_out([(job, Refusal("stopping", "the server is stopping")) for job in left])
        if self._thread.ident is not None:
            self._thread.join(timeout=30.0)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def busy_s(self) -> float:
        """For how long the batch under way has been answered; 0 where there is none."""
        began_s = self._began_s
        return 0.0 if began_s is None else self._clock() - began_s

    async def ask(
        self, question: Question, *, asker: str = "", key_id: str | None = None,
        deadline_s: float | None = None,
    ) -> Answer:  # fmt: skip
        """The answer. Raises Refusal: overloaded, late, bad_request, policy_failed, metering_failed.

        asker: who takes turns with the others; key_id: who is charged, the asker if None
        """
        now = self._clock()
        allowed_s = min(deadline_s or self.queueing.deadline_s, self.queueing.deadline_s)
        whose = asker if key_id is None else key_id
        job = _Job(question, asker, whose, now, now + allowed_s, asyncio.get_running_loop().create_future())
        with self._changed:
            self._check_hope(asker, allowed_s)
            left_out = self._waiting.add(asker, job)
            if self._asker not in (None, asker):
                self._several_s = now
            self._asker = asker
            self._changed.notify()
        if left_out is not None:
            _hand_out([(left_out, self._overloaded())])
        try:
            # The thread drops late questions before it answers them; this is for the one it is answering.
            return await asyncio.wait_for(job.answered, allowed_s)
        except TimeoutError:
            raise Refusal("late", f"no answer within {allowed_s:g} s", retry_after_s=self.retry_s) from None
        finally:
            job.given_up = True

    def _check_hope(self, asker: str, allowed_s: float) -> None:
        """Raises Refusal where no answer can come in time."""
        if self._stopping:
            raise Refusal("stopping", "the server is stopping", retry_after_s=5.0)
        # An idle service takes any question: else one slow answer would shut it for good.
        before = self._waiting.before(asker) + self.answering
        if before > 0 and (before + 1) * self._per_question_s > allowed_s:
            raise self._overloaded()

    def _overloaded(self) -> Refusal:
        waiting = len(self._waiting)
        return Refusal("overloaded", f"{waiting} questions are waiting", retry_after_s=self.retry_s)

    @property
    def retry_s(self) -> float:
        """When asking again makes sense: once what waits now is answered, as far as that is known."""
        return (len(self._waiting) + self.answering + 1) * self._per_question_s or 1.0

    # On the inference thread.

    def _run(self) -> None:
        while True:
            batch = self._collect()
            if batch is None:
                return
            if batch:
                self._answer(batch)

    def _collect(self) -> list[_Job] | None:
        """The next batch, without those nobody waits for; None when the service stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if self._stopping:
                return None
            expected = self._last[-1][0]
            if len(self._waiting) < expected:
                enough = lambda: len(self._waiting) >= expected or self._stopping  # noqa: E731
                self._changed.wait_for(enough, self.queueing.window_s)
            batch, too_late = self._taken()
            self.answering = len(batch)
        late = Refusal("late", "no answer would come in time", retry_after_s=self.retry_s)
        _hand_out([(job, late) for job in too_late])
        return batch

    def _taken(self) -> tuple[list[_Job], list[_Job]]:
        """As many as can be answered together in time, by turns, and those that are too late already."""
        batch: list[_Job] = []
        too_late: list[_Job] = []
        now = self._clock()
        due_s = now + self.queueing.longest_batch_s
        several = now < self._several_s + self.queueing.deadline_s
        turn = 0  # how many of the batch had not had theirs
        while self._waiting and len(batch) < self.queueing.largest_batch:
            turn = turn or (len(batch) if self._waiting.round_is_over else 0)
            if several and turn and not self._hardly_longer(len(batch) + 1, turn):
                break
            job, done_s = self._waiting.peek(), now + (len(batch) + 1) * self._per_question_s
            in_time = done_s < job.due_s
            if batch and not (in_time and done_s < due_s):
                break  # it would come too late, or bring those before it too late
            self._waiting.take()
            last = not self._waiting  # it is tried whatever the estimate says, which is corrected by that
            if job.given_up:
                continue
            if in_time or (last and now < job.due_s):
                batch.append(job)
                due_s = min(due_s, job.due_s)
            else:
                too_late.append(job)
        return batch, too_late

    def _hardly_longer(self, size: int, turn: int) -> bool:
        """Than a batch of `turn`, by the last ones. Where they do not tell, one question more is tried."""
        sizes, took_s = zip(*self._last)
        if len(set(sizes)) == 1 or size > max(sizes):
            return size <= max(sizes) + 1
        each_s, start_s = linear_regression(sizes, took_s)
        return start_s + each_s * size <= _HARDLY * (start_s + each_s * turn)

    def _answer(self, batch: list[_Job]) -> None:
        began = self._began_s = self._clock()
        chunks = self._chunks([job.question for job in batch])
        took_s = self._clock() - began
        self._began_s, self.answering = None, 0  # before anybody who has the answer can ask again
        self._last.append((len(batch), took_s))
        each_s = took_s / len(batch)
        self._per_question_s = 0.8 * self._per_question_s + 0.2 * each_s if self._per_question_s else each_s
        results: list[tuple[_Job, Answer | Refusal]] = []
        answered: list[tuple[_Job, Answer]] = []
        for job, chunk in zip(batch, chunks):
            if isinstance(chunk, Refusal):
                results.append((job, chunk))
            elif self._clock() >= job.due_s:
                results.append((job, Refusal("late", "the answer came too late", retry_after_s=self.retry_s)))
            elif not job.given_up:
                waited_s = began - job.arrived_s
                answer = Answer(
                    question=job.question, chunk=chunk, waited_s=waited_s, infer_s=took_s, batch=len(batch)
                )
                answered.append((job, answer))
        _hand_out([*results, *self._metered(answered)])

    def _chunks(self, questions: list[Question]) -> list[ActionChunk | Refusal]:
        """One result per question. A bad one fails alone: when a batch fails, each is asked by itself."""
        try:
            return list(self.served.policy.answer(questions))
        except KinemaError as error:
            if len(questions) == 1:
                return [Refusal("bad_request", str(error))]
        except Exception:  # the request border: a fault of the policy must not end the server
            if len(questions) == 1:
                log.exception("the policy failed on a question for %s", questions[0].card)
                return [
                    Refusal("policy_failed", "the policy failed on this question; the server's log says how")
                ]
        return [self._chunks([question])[0] for question in questions]

    def _metered(self, answered: list[tuple[_Job, Answer]]) -> Sequence[tuple[_Job, Answer | Refusal]]:
        try:
            if self._meter is not None and answered:
                self._meter([(job.key_id, answer) for job, answer in answered])
            return answered
        except Exception:  # the request border: without a record there is no answer, but the server lives
            log.exception("%d answers could not be written down", len(answered))
            refusal = Refusal("metering_failed", "the answer could not be accounted for", retry_after_s=1.0)
            return [(job, refusal) for job, _ in answered]


def _hand_out(results: Sequence[tuple[_Job, Answer | Refusal]]) -> None:
    """Wake each asker on its own loop."""
    for job, result in results:
        loop = job.answered.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, job.answered, result)


def _resolve(answered: asyncio.Future[Answer], result: Answer | Refusal) -> None:
    if answered.done():
        return
    if isinstance(result, Refusal):
        answered.set_exception(result)
    else:
        answered.set_result(result)
