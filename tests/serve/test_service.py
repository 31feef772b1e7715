"""The service: batches form, a bad question fails alone, what would come too late is refused at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toy import ToyPolicy, observation, toy_served, toy_values

import kinema.serve.service as service_module
from kinema.schema import Question
from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer, Queueing, Service


class Gated(ToyPolicy):
    """Answers only while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)

    def answer(self, questions: Any) -> Any:
        self.entered.release()
        assert self.gate.wait(20)
        return super().answer(questions)


def question(seed: int = 0, instruction: str = "lift", card: str = "panda") -> Question:
    return Question(observation=observation(seed=seed, instruction=instruction), card=card, noise_seed=seed)


class Costing(ToyPolicy):
    """Each question costs so many seconds on a clock of the test's, which nothing else moves."""

    def __init__(self, cost_s: float) -> None:
        super().__init__()
        self.cost_s, self.now_s = cost_s, 0.0

    def answer(self, questions: Any) -> Any:
        answers = super().answer(questions)
        self.now_s += self.cost_s * len(questions)
        return answers


class GatedCosting(Costing, Gated):
    """Both."""


@contextmanager
def service(policy: Any = None, meter: Any = None, **queueing: Any) -> Iterator[Service]:
    clock = (lambda: policy.now_s) if isinstance(policy, Costing) else time.monotonic
    made = Service(toy_served(policy), Queueing(**queueing), meter=meter, clock=clock)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def gathered(ask: Callable[[Question], Awaitable[Answer]], questions: list[Question]) -> list[Any]:
    async def run() -> list[Any]:
        return await asyncio.gather(*(ask(each) for each in questions), return_exceptions=True)

    return asyncio.run(run())


def behind_a_batch(made: Service, policy: Gated, questions: list[Question], **options: Any) -> list[Any]:
    """Results of the questions that arrive while another one is being answered; that one's result first."""

    async def run() -> list[Any]:
        first = asyncio.create_task(made.ask(question(99)))
        await asyncio.to_thread(policy.entered.acquire)
        rest = [asyncio.create_task(made.ask(each, **options)) for each in questions]
        await asyncio.sleep(0.01)  # all of them are in the queue
        policy.gate.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    return asyncio.run(run())


def test_each_question_gets_its_own_answer() -> None:
    questions = [question(seed) for seed in range(20)]
    with service(largest_batch=6) as made:
        answers = gathered(made.ask, questions)
    for asked, answer in zip(questions, answers):
        np.testing.assert_array_equal(answer.chunk.values, toy_values(asked))


def test_what_waits_together_is_answered_together() -> None:
    policy = Gated()
    with service(policy, largest_batch=4) as made:
        behind_a_batch(made, policy, [question(seed) for seed in range(10)])
    assert policy.batches == [1, 4, 4, 2]


def test_a_lone_client_never_waits_for_others() -> None:
    with service(window_s=30.0) as made:  # waiting for the window would run into the test's time limit
        for seed in range(3):
            gathered(made.ask, [question(seed)])


@pytest.mark.parametrize(("bad", "code"), [("refuse me", "bad_request"), ("crash", "policy_failed")])
def test_a_bad_question_fails_alone(bad: str, code: str) -> None:
    policy = Gated()
    questions = [question(0), question(1, bad), question(2)]
    with service(policy) as made:
        _, first, refused, last = behind_a_batch(made, policy, questions)
    np.testing.assert_array_equal(first.chunk.values, toy_values(questions[0]))
    np.testing.assert_array_equal(last.chunk.values, toy_values(questions[2]))
    assert isinstance(refused, Refusal)
    assert refused.code == code
    assert "secret path" not in str(refused)


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    policy = Gated()
    with service(policy, largest_queue=3, largest_batch=1) as made:
        _, *results = behind_a_batch(made, policy, [question(seed) for seed in range(5)])
    refused = [r for r in results if isinstance(r, Refusal)]
    assert [r.code for r in refused] == ["overloaded"] * 2
    assert all(int(r.headers["Retry-After"]) >= 1 for r in refused)
    assert policy.batches == [1] * 4  # the others were answered


def test_a_question_that_would_wait_too_long_is_refused_before_it_waits() -> None:
    policy = GatedCosting(50.0)
    policy.gate.set()
    with service(policy, largest_batch=1, deadline_s=300.0) as made:
        gathered(made.ask, [question()])  # now the service knows what an answer costs
        policy.entered.acquire()
        policy.gate.clear()
        _, *results = behind_a_batch(made, policy, [question(seed) for seed in range(30)])
    told = [r.code if isinstance(r, Refusal) else "answered" for r in results]
    # After the one under way: four in time, one that is done when it is due, and no hope for the others.
    assert told == ["answered"] * 4 + ["late"] + ["overloaded"] * 25


def test_late_questions_are_told_so_and_never_answered() -> None:
    policy = Gated()
    seen = []
    with service(policy, meter=lambda answers: seen.extend(asker for asker, _ in answers)) as made:

        async def run() -> list[Any]:
            first = asyncio.create_task(made.ask(question(0), asker="first"))
            await asyncio.to_thread(policy.entered.acquire)
            late = await asyncio.gather(
                made.ask(question(1), asker="late", deadline_s=0.02), return_exceptions=True
            )
            policy.gate.set()
            return [await first, *late]

        _, late = asyncio.run(run())
    assert late.code == "late"
    assert policy.batches == [1]
    assert seen == ["first"]


def test_a_question_whose_asker_left_is_thrown_away() -> None:
    policy = Gated()
    with service(policy) as made:

        async def run() -> None:
            first = asyncio.create_task(made.ask(question(0)))
            await asyncio.to_thread(policy.entered.acquire)
            gone = asyncio.create_task(made.ask(question(1)))
            await asyncio.sleep(0.01)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            policy.gate.set()
            await first
            await made.ask(question(2))

        asyncio.run(run())
    assert policy.batches == [1, 1]


def test_what_cannot_be_written_down_is_not_delivered() -> None:
    def meter(answers: list[tuple[str, Answer]]) -> None:
        if answers[0][0] == "unlucky":
            raise OSError("disk full at /var/lib/secret")

    with service(meter=meter) as made:
        (refused,) = gathered(lambda q: made.ask(q, asker="unlucky"), [question()])
        (answer,) = gathered(lambda q: made.ask(q, asker="lucky"), [question()])
    assert refused.code == "metering_failed"
    assert "secret" not in str(refused)
    assert isinstance(answer, Answer)


def test_each_answer_is_written_down_once_before_it_is_delivered() -> None:
    rows: list[str] = []
    with service(meter=lambda answers: rows.extend(asker for asker, _ in answers)) as made:

        async def ask(number: int) -> None:
            await made.ask(question(number), asker=str(number))
            assert str(number) in rows

        async def run() -> None:
            await asyncio.gather(*map(ask, range(20)))

        asyncio.run(run())
    assert sorted(rows, key=int) == [str(number) for number in range(20)]


def test_stopping_refuses_what_waits_and_answers_what_was_begun() -> None:
    policy = Gated()
    made = Service(toy_served(policy))
    made.start()

    async def run() -> list[Any]:
        first = asyncio.create_task(made.ask(question(0)))
        await asyncio.to_thread(policy.entered.acquire)
        second = asyncio.create_task(made.ask(question(1)))
        await asyncio.sleep(0.01)
        stopping = asyncio.create_task(asyncio.to_thread(made.stop))
        refused = await asyncio.gather(second, return_exceptions=True)
        policy.gate.set()
        await stopping
        third = await asyncio.gather(made.ask(question(2)), return_exceptions=True)
        return [await first, *refused, *third]

    first, second, third = asyncio.run(run())
    assert isinstance(first, Answer)
    assert (second.code, third.code) == ("stopping", "stopping")
    assert not made.alive


def test_refusing_a_chunk_is_not_charged() -> None:
    from kinema.schema import Verdict
    from kinema.serve.gateway import metered_by

    rows: list[tuple[Any, ...]] = []

    class Book:
        def record(self, answers: list[tuple[Any, ...]]) -> None:
            rows.extend(answers)

    verdict = Verdict(allowed=True, risk={}, limit={}, horizon_s=1.0)
    for allowed in (True, False):
        policy = ToyPolicy(verdict=replace(verdict, allowed=allowed))
        with service(policy, meter=metered_by(Book(), "toy")) as made:  # type: ignore[arg-type]
            gathered(lambda q: made.ask(q, asker="k"), [question()])
    assert [row[:4] for row in rows] == [("k", "toy", "panda", 4), ("k", "toy", "panda", 0)]


def test_one_slow_answer_does_not_shut_the_service() -> None:
    policy = Costing(300.0)
    with service(policy, deadline_s=1000.0) as made:
        gathered(made.ask, [question()])  # such as the first one, which compiles
        policy.cost_s = 0.0
        results = gathered(lambda q: made.ask(q, deadline_s=100.0), [question()])  # by the estimate hopeless
        assert isinstance(results[0], Answer)


def test_whoever_has_an_answer_meets_a_service_that_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the thread that answers takes to go on after it has handed the answer out."""
    busy: list[int] = []
    hand_out = service_module._hand_out

    def watched(results: Any) -> None:
        if results:
            busy.append(made.answering)
        hand_out(results)

    monkeypatch.setattr(service_module, "_hand_out", watched)
    with service() as made:
        gathered(made.ask, [question(), question()])
        gathered(made.ask, [question()])
    assert busy
    assert not any(busy)


def test_a_batch_is_no_larger_than_what_can_be_answered_in_time() -> None:
    """Each question costs 40 s and may take 500 s; a batch of 16 would bring all 16 too late."""
    policy = Costing(40.0)
    with service(policy, deadline_s=500.0, largest_batch=16, largest_queue=64, longest_batch_s=1e6) as made:
        gathered(made.ask, [question()])

        async def run() -> list[Any]:
            async def client(number: int) -> list[Any]:
                results = []
                for _ in range(6):
                    results += await asyncio.gather(made.ask(question(number)), return_exceptions=True)
                    await asyncio.sleep(0.001)
                return results

            of_clients = await asyncio.gather(*map(client, range(40)))
            return [result for results in of_clients for result in results]

        results = asyncio.run(run())
    answered = sum(isinstance(r, Answer) for r in results)
    late = sum(isinstance(r, Refusal) and r.code == "late" for r in results)
    assert answered >= 10
    assert late <= answered  # the rest was refused on arrival
    assert max(policy.batches) < 16
