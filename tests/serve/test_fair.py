"""Who asks much waits for itself: answers go round, and no asker loses one because of another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import patient
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_auth import with_keys
from test_service import Gated, question
from toy import toy_served
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from kinema.runtime.messages import PATH
from kinema.runtime.wire import pack, unpack
from kinema.serve.activity import Activity
from kinema.serve.connection import _FAULTS, Connection, ConnectionLimiter
from kinema.serve.gateway import Gateway
from kinema.serve.keys import LOCAL, STRANGER, Key
from kinema.serve.limits import Limits
from kinema.serve.metrics import Metrics
from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer, Queueing, Service
from kinema.serve.turns import Turns


class OneByOne(Gated):
    """Answers a batch each time the test lets it; notes whose questions were in which batch."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[int]] = []

    def answer(self, questions: Any) -> Any:
        self.entered.release()
        assert self.gate.wait(20)
        self.gate.clear()
        self.asked.append([each.noise_seed for each in questions])
        self.batches.append(len(questions))
        return [self._chunk(each) for each in questions]


def test_one_key_with_64_questions_under_way_costs_another_no_answer() -> None:
    policy = OneByOne()
    queueing = Queueing(largest_queue=64, largest_batch=4, deadline_s=1e6)
    made = Service(toy_served(policy), queueing, clock=lambda: 0.0)  # how long a batch took changes batches
    made.start()

    async def run() -> tuple[list[Any], list[Any]]:
        greedy: set[asyncio.Task[Any]] = set()
        refused: list[Any] = []
        lone: list[Any] = []

        def flood() -> None:
            while len(greedy) < 80:  # 64 wait, the others are under way or refused
                task = asyncio.create_task(made.ask(question(1), asker="greedy"))
                greedy.add(task)
                task.add_done_callback(greedy.discard)
                task.add_done_callback(lambda done: done.cancelled() or refused.append(done.exception()))

        flood()
        await asyncio.to_thread(policy.entered.acquire)
        for _ in range(20):  # the other asks while the queue is full and a batch of the first is under way
            flood()
            await asyncio.sleep(0)
            asked = asyncio.create_task(made.ask(question(2), asker="lone"))
            await asyncio.sleep(0)
            for _ in range(2):  # the batch under way, and the next one
                policy.gate.set()
                await asyncio.to_thread(policy.entered.acquire)
            lone += await asyncio.gather(asked, return_exceptions=True)
        for task in greedy:
            task.cancel()
        return lone, refused

    lone, refused = asyncio.run(run())
    policy.gate.set()
    made.stop()
    assert all(isinstance(each, Answer) for each in lone)
    assert len(lone) == 20
    assert any(isinstance(each, Refusal) for each in refused)  # the queue was full: its own gave way


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99)), max_size=60))
def test_turns_go_round_and_keep_each_askers_order(items: list[tuple[str, int]]) -> None:
    turns: Turns[tuple[str, int]] = Turns(1000)
    for asker, item in items:
        before, waiting = turns.before(asker), turns.of(asker)
        turns.add(asker, (asker, item))
        assert waiting <= before < len(turns)
    assert len(turns) == len(items)
    taken = []
    while turns:
        peeked = turns.peek()
        taken.append(turns.take())
        assert taken[-1] == peeked
    for asker in "abc":
        assert [each for each in taken if each[0] == asker] == [each for each in items if each[0] == asker]
    for place in range(len(taken) - 1):  # nobody is served twice while another one waits
        here, after = taken[place][0], taken[place + 1 :]
        assert after[0][0] != here or {each[0] for each in after} == {here}


@given(st.lists(st.sampled_from("abcd") | st.none(), max_size=80))
def test_whose_turn_is_to_come_goes_before_all_who_had_theirs(steps: list[str | None]) -> None:
    """Letters add, None takes. Between two turns of an asker, each that waited meanwhile has one."""
    turns: Turns[str] = Turns(1000)
    passed_over: dict[str, set[str]] = {}  # by who waits: who was taken since
    for step in steps:
        if step is not None:
            turns.add(step, step)
            passed_over.setdefault(step, set())
        elif turns:
            taken = turns.take()
            for waits, others in passed_over.items():
                if waits != taken:
                    assert taken not in others, f"{taken} had two turns while {waits} waited"
                    others.add(taken)
            del passed_over[taken]
            if turns.of(taken):
                passed_over[taken] = set()


@pytest.mark.parametrize(("start_s", "each_s"), [(0.02, 0.02), (0.02, 0.0001)], ids=["cpu", "gpu"])
def test_what_one_asks_costs_another_one_batch(start_s: float, each_s: float) -> None:
    """On the clock of the work alone: the batch under way and its own, each as long as one question alone.

    Now and then a batch is one question larger, to learn what that costs. Where it costs nothing it stays so.
    """
    now = [0.0]

    class Costly(OneByOne):
        def answer(self, questions: Any) -> Any:
            answers = super().answer(questions)
            now[0] += start_s + each_s * len(questions)
            return answers

    policy = Costly()
    made = Service(toy_served(policy), Queueing(deadline_s=1e6), clock=lambda: now[0])
    made.start()

    batches: list[list[int]] = []

    async def run() -> list[float]:
        asked = [asyncio.create_task(made.ask(question(1), asker="greedy"))]
        await asyncio.to_thread(policy.entered.acquire)
        took_s = []
        for _ in range(60):
            asked += [asyncio.create_task(made.ask(question(1), asker="greedy")) for _ in range(20)]
            await asyncio.sleep(0)
            lone, asked_s = asyncio.create_task(made.ask(question(2), asker="lone")), now[0]
            await asyncio.sleep(0)
            while not any(2 in batch for batch in policy.asked):
                policy.gate.set()
                await asyncio.to_thread(policy.entered.acquire)
            took_s.append(now[0] - asked_s)
            batches.extend(policy.asked)
            policy.asked.clear()
            await lone
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        return took_s

    took_s = asyncio.run(run())
    policy.gate.set()
    made.stop()
    alone_s = start_s + each_s
    assert sum(each <= 2.2 * alone_s for each in took_s) >= 0.9 * len(took_s)
    assert max(took_s) <= 3 * alone_s
    assert max(map(len, batches)) == (16 if each_s < 0.01 * start_s else 2)


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 20), min_size=1), st.sampled_from("abcd"))
def test_room_is_made_by_who_has_most(counts: dict[str, int], newcomer: str) -> None:
    turns: Turns[tuple[str, int]] = Turns(sum(counts.values()))
    for asker, count in counts.items():
        for item in range(count):
            assert turns.add(asker, (asker, item)) is None
    most, mine = max(counts.values()), counts.get(newcomer, 0)
    left_out = turns.add(newcomer, (newcomer, -1))
    assert left_out is not None
    if left_out == (newcomer, -1):
        assert most <= mine + 1
        assert turns.of(newcomer) == mine
    else:
        assert counts[left_out[0]] == most > mine + 1
        assert left_out[1] == most - 1  # its newest
        assert turns.of(newcomer) == mine + 1
    assert len(turns) == sum(counts.values())


def test_a_batch_is_no_longer_than_it_may_be() -> None:
    """By what questions have cost: one asker's many do not delay another's one by more than that."""
    now = [0.0]

    class Costly(Gated):
        def answer(self, questions: Any) -> Any:
            answers = super().answer(questions)
            now[0] += 0.1 * len(questions)
            return answers

    policy = Costly()
    queueing = Queueing(largest_batch=16, longest_batch_s=0.25, deadline_s=1e6)
    made = Service(toy_served(policy), queueing, clock=lambda: now[0])
    made.start()

    async def run() -> None:
        first = asyncio.create_task(made.ask(question(0)))
        await asyncio.to_thread(policy.entered.acquire)
        policy.gate.set()
        await first
        policy.gate.clear()
        under_way = asyncio.create_task(made.ask(question(0)))
        await asyncio.to_thread(policy.entered.acquire)
        rest = [asyncio.create_task(made.ask(question(i), asker=str(i % 2))) for i in range(9)]
        await asyncio.sleep(0.01)
        policy.gate.set()
        await asyncio.gather(under_way, *rest)

    asyncio.run(run())
    made.stop()
    assert max(policy.batches) == 2


def test_a_key_holds_so_many_connections_and_no_more(tmp_path: Path) -> None:
    from kinema.serve.limits import Limits

    with with_keys(tmp_path, limits=Limits(key_connections=2)) as (server, secret):
        _, other = server.accounts.keys.make("other")
        headers = {"Authorization": f"Api-Key {secret}"}
        with (
            connect(server.ws + PATH, additional_headers=headers) as first,
            connect(server.ws, additional_headers=headers) as second,
        ):
            first.recv(), second.recv()
            with pytest.raises(InvalidStatus) as refused:
                connect(server.ws + PATH, additional_headers=headers)
            assert refused.value.response.status_code == 503
            assert "2 connections" in refused.value.response.body.decode()
            theirs = {"Authorization": f"Api-Key {other}"}
            with connect(server.ws + PATH, additional_headers=theirs) as another:
                assert another.recv()


def test_a_keys_faults_outlive_its_connections(tmp_path: Path) -> None:
    with with_keys(tmp_path) as (server, secret):
        headers, faults = {"Authorization": f"Api-Key {secret}"}, 0

        def fail_again_and_again() -> None:
            nonlocal faults
            for _ in range(_FAULTS + 10):
                with connect(server.ws + PATH, additional_headers=headers, compression=None) as socket:
                    socket.recv()
                    socket.send(b"\xc1")
                    faults += unpack(socket.recv(timeout=10))["code"] == "bad_request"
                    socket.send(pack({"type": "ping", "id": 1}))
                    socket.recv(timeout=10)

        with pytest.raises(ConnectionClosed) as closed:
            fail_again_and_again()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        assert _FAULTS < faults <= _FAULTS + 9


class Clock:
    """Stands still but where somebody sleeps; notes how long each sleep was to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []
        monkeypatch.setattr("kinema.serve.connection.asyncio.sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds

    def limiter(self, **limits: Any) -> ConnectionLimiter:
        made = Gateway(
            service=Service(toy_served(Gated())), limits=Limits(**limits), metrics=Metrics(lambda: 0),
            activity=Activity("toy"), clock=lambda: self.now_s,
        )  # fmt: skip
        return ConnectionLimiter(made, auth=None)  # type: ignore[arg-type]


def test_who_is_refused_again_and_again_waits_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    limiter = clock.limiter()

    async def run() -> None:
        for _ in range(_FAULTS + 50):
            await limiter.hold(STRANGER)
        strangers = list(clock.slept_s)
        assert strangers[:_FAULTS] == [0.0] * _FAULTS
        assert sum(strangers) == pytest.approx(50 / 2)  # of a second each, if one comes after the other
        clock.slept_s.clear()
        await limiter.hold(Key(id="right", name="right"))
        for _ in range(100):  # where no key is asked, nobody is a stranger
            await limiter.hold(LOCAL)
        assert sum(clock.slept_s) == 0.0

    asyncio.run(run())


def test_every_refusal_and_every_end_of_a_websocket_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []

    async def hold(self: Any, key: Key) -> None:
        held.append(key.name)

    monkeypatch.setattr(ConnectionLimiter, "hold", hold)
    with with_keys(tmp_path) as (server, secret):
        right, wrong = ({"Authorization": f"Api-Key {given}"} for given in (secret, "kin_wrong"))
        assert patient.get(server.http + "/v1/robots", headers=wrong).status_code == 401
        assert patient.post(server.http + "/v1/act", headers=right, json={"card": 1}).status_code == 422
        assert patient.get(server.http + "/v1/robots", headers=right).status_code == 200
        with pytest.raises(InvalidStatus):
            connect(server.ws + PATH, additional_headers=wrong)
        assert held == [STRANGER.name, "test", STRANGER.name]
        with connect(server.ws, additional_headers=right) as socket:  # openpi's ends with its first fault
            socket.recv(), socket.send(b"\xc1"), socket.recv()
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=10)
        assert held[3:] == ["test"]


def test_a_message_that_is_refused_counts_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a flood of what cannot be taken is read the more slowly."""
    clock = Clock(monkeypatch)
    limiter = clock.limiter(message_hz=1.0, burst=50)

    class Socket:
        client = None

        async def receive(self) -> dict[str, Any]:
            return {"type": "websocket.receive", "bytes": b"x"}

    async def read(refusal: Refusal | None) -> int:
        connection = Connection(Socket(), "stream", LOCAL, limiter)  # type: ignore[arg-type]
        clock.slept_s.clear()
        for count in range(100):
            await connection.receive()
            if clock.slept_s:
                return count
            if refusal is not None:
                connection.note(refusal)
        raise AssertionError("it is read without end")

    assert asyncio.run(read(None)) == 50
    assert asyncio.run(read(Refusal("overloaded", "too many"))) == 5
    assert asyncio.run(read(Refusal("bad_request", "a fault, which is counted by itself"))) == 50
