"""Our own websocket: every answer names its question, and only the answer waits for the policy."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import patient
import pytest
from test_service import Gated
from toy import ALOHA, PANDA, Running, ToyPolicy, observation, running, toy_served, toy_values
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from kinema.runtime.client import RemotePolicy, ServerError, stream_url
from kinema.runtime.messages import PATH, PROTOCOL, chunk_of, infer_message
from kinema.runtime.wire import pack, unpack
from kinema.schema import ActionChunk, KinemaError, Question, Verdict, noise_seed
from kinema.serve.app import make_app
from kinema.serve.limits import Limits
from kinema.serve.service import Queueing


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(limits=Limits(message_hz=1e6)) as found:
        yield found


def question(seed: int = 0, card: Any = PANDA, **change: Any) -> Question:
    return Question(
        observation=observation(card, px=24, seed=seed, **change), card=card.name, noise_seed=seed
    )


class Talk:
    """One connection, spoken by hand."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.hello = self.hear()

    def say(self, message: Any) -> None:
        self.socket.send(message if isinstance(message, bytes | str) else pack(message))

    def hear(self) -> dict[str, Any]:
        data = self.socket.recv(timeout=10)
        assert isinstance(data, bytes)
        return unpack(data)

    def ask(self, message: Any) -> dict[str, Any]:
        self.say(message)
        return self.hear()


@pytest.fixture
def talk(server: Running) -> Iterator[Talk]:
    with connect(server.ws + PATH, compression=None) as socket:
        yield Talk(socket)


def test_hello_says_what_a_client_must_know(talk: Talk) -> None:
    hello = talk.hello
    assert (hello["type"], hello["protocol"], hello["model"]) == ("hello", PROTOCOL, "toy")
    assert set(hello["cards"]) == {"panda", "aloha"}
    assert hello["cards"]["panda"]["cameras"] == list(PANDA.camera_names)
    assert [a["name"] for a in hello["cards"]["aloha"]["actions"]] == [c.name for c in ALOHA.actions]
    assert {"frame_bytes", "image_px", "in_flight", "deadline_s"} <= set(hello["limits"])


def test_answers_name_their_questions(talk: Talk) -> None:
    questions = {number: question(number, card) for number, card in ((7, PANDA), (3, ALOHA), (2**40, PANDA))}
    for number, each in questions.items():
        talk.say(infer_message(number, each, None))
    while questions:
        answer = talk.hear()
        asked = questions.pop(answer["id"])
        chunk = chunk_of(answer)
        np.testing.assert_array_equal(chunk.values, toy_values(asked))
        assert chunk.card == asked.card
        assert {"waited_ms", "infer_ms", "total_ms", "batch"} == set(answer["timing"])


def test_a_verdict_arrives() -> None:
    verdict = Verdict(
        allowed=False, risk={"drop": 0.4}, limit={"drop": 0.1}, horizon_s=1.0, reason="it would fall"
    )
    with (
        running(make_app(toy_served(ToyPolicy(verdict=verdict)))) as server,
        RemotePolicy(server.ws) as policy,
    ):
        assert policy.infer(observation(), "panda").verdict == verdict


def test_committed_actions_arrive() -> None:
    seen: list[ActionChunk | None] = []

    class Noting(ToyPolicy):
        def answer(self, questions: Any) -> Any:
            seen.extend(question.committed for question in questions)
            return super().answer(questions)

    committed = ActionChunk(values=np.ones((3, 7)), times_s=np.array([0.1, 0.2, 0.3]), card="panda")
    with running(make_app(toy_served(Noting()))) as server, RemotePolicy(server.ws) as policy:
        policy.infer(observation(), "panda", committed)
        policy.infer(observation(), "panda")
    first, second = seen
    assert first is not None
    np.testing.assert_array_equal(first.values, committed.values)
    np.testing.assert_array_equal(first.times_s, committed.times_s)
    assert second is None


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        ("text", "bad_request", "binary"),
        (b"\xc1", "bad_request", "MessagePack"),
        ([1], "bad_request", "`object`, got `array`"),
        ({"type": "ping"}, "bad_request", "id"),
        ({"type": "ping", "id": -1}, "bad_request", "id"),
        ({"type": "ping", "id": True}, "bad_request", "id"),
        ({"type": "kill", "id": 1}, "bad_request", "infer, reset, ping"),
        ({"type": "infer", "id": 1}, "bad_request", "observation"),
        ({"type": "infer", "id": 1, "card": "panda"}, "bad_request", "observation"),
        ({"type": "infer", "id": 1, "card": ["panda"]}, "bad_request", "card"),
    ],
    ids=str,
)
def test_faults_are_error_frames(talk: Talk, message: Any, code: str, says: str) -> None:
    answer = talk.ask(message)
    assert (answer["type"], answer["code"]) == ("error", code)
    assert says in answer["message"]
    assert talk.ask({"type": "ping", "id": 5}) == {"type": "pong", "id": 5}  # and the connection lives on


@pytest.mark.parametrize(
    ("part", "value", "says"),
    [
        ("state", np.zeros(6, np.float32), r"shape"),
        ("state", [1, 2, "x"], "numbers"),
        ("state", None, "array"),
        ("state", np.full(7, np.inf), "finite"),
        ("state", [1e39] * 7, "finite"),
        ("instruction", "", "say what to do"),
        ("instruction", "x" * 401, "400"),
        ("instruction", "put it\ndown", "control character"),
        ("instruction", "put\u200bit", "control character"),
        ("instruction", "<|pad|> go", "special token"),
        ("time_s", float("nan"), "time_s"),
        ("time_s", True, "time_s"),
        ("images", {"front": np.zeros((24, 24, 3), np.uint8)}, "wrist"),
        ("images", {"front": b"GIF89a", "wrist": b""}, "PNG or JPEG"),
        ("images", [], "images"),
        ("images", {f"c{i}": b"" for i in range(9)}, "at most 8"),
    ],
    ids=str,
)  # fmt: skip
def test_every_part_of_an_observation_is_checked(talk: Talk, part: str, value: Any, says: str) -> None:
    message = infer_message(4, question(), None)
    message["observation"][part] = value
    answer = talk.ask(message)
    assert answer["id"] == 4
    assert answer["type"] == "error"
    assert says in answer["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("noise_seed", -1), ("noise_seed", 2**63), ("noise_seed", 1.5), ("deadline_s", 0),
     ("deadline_s", float("nan")), ("deadline_s", "soon"), ("committed", 3),
     ("committed", {"values": np.zeros((2, 6)), "times_s": np.zeros(2)}),
     ("committed", {"values": np.zeros((300, 7)), "times_s": np.zeros(300)}),
     ("committed", {"values": np.full((1, 7), np.nan), "times_s": np.zeros(1)})],
    ids=str,
)  # fmt: skip
def test_every_part_of_a_question_is_checked(talk: Talk, name: str, value: Any) -> None:
    answer = talk.ask({**infer_message(4, question(), None), name: value})
    assert (answer["type"], answer["code"], answer["id"]) == ("error", "bad_request", 4)


def test_many_bad_messages_end_the_connection(talk: Talk) -> None:
    for _ in range(21):
        assert talk.ask(b"\xc1")["code"] == "bad_request"
    with pytest.raises(ConnectionClosed) as closed:
        talk.hear()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_fault_of_the_policy_is_no_leak(talk: Talk) -> None:
    answer = talk.ask(infer_message(1, question(instruction="crash"), None))
    assert (answer["code"], answer["id"]) == ("policy_failed", 1)
    assert "secret" not in answer["message"]
    assert ".py" not in answer["message"]


@pytest.fixture
def gated() -> Iterator[tuple[Gated, Running]]:
    policy = Gated()
    limits = Limits(message_hz=1e6, in_flight=3)
    try:
        with running(make_app(toy_served(policy), limits=limits)) as server:
            yield policy, server
    finally:
        policy.gate.set()


def test_pings_are_answered_while_the_policy_thinks(gated: tuple[Gated, Running]) -> None:
    policy, server = gated
    with connect(server.ws + PATH, compression=None) as socket:
        talk = Talk(socket)
        talk.say(infer_message(1, question(), None))
        policy.entered.acquire()
        assert talk.ask({"type": "ping", "id": 2})["type"] == "pong"
        assert socket.ping().wait(5)  # the websocket's own as well
        assert patient.get(server.http + "/healthz").text == "OK\n"
        policy.gate.set()
        assert talk.hear()["id"] == 1


def test_one_connection_may_leave_only_so_many_unanswered(gated: tuple[Gated, Running]) -> None:
    policy, server = gated
    with connect(server.ws + PATH, compression=None) as socket:
        talk = Talk(socket)
        for number in range(5):
            talk.say(infer_message(number, question(), None))
        refused = [talk.hear() for _ in range(2)]
        assert [(r["id"], r["code"]) for r in refused] == [(3, "overloaded"), (4, "overloaded")]
        assert talk.ask(infer_message(0, question(), None))["code"] == "bad_request"  # a number in use
        policy.gate.set()
        assert {talk.hear()["id"] for _ in range(3)} == {0, 1, 2}


def test_after_a_reset_no_older_answer_comes(gated: tuple[Gated, Running]) -> None:
    policy, server = gated
    with connect(server.ws + PATH, compression=None) as socket:
        talk = Talk(socket)
        talk.say(infer_message(1, question(1), None))
        policy.entered.acquire()
        talk.say(infer_message(2, question(2), None))
        assert talk.ask({"type": "reset", "id": 3}) == {"type": "reset", "id": 3}
        talk.say(infer_message(1, question(5), None))  # the number may be used again
        policy.gate.set()
        answer = talk.hear()
        np.testing.assert_array_equal(chunk_of(answer).values, toy_values(question(5)))
        assert talk.ask({"type": "ping", "id": 9})["id"] == 9
    assert policy.batches == [1, 1]  # question 2 was never worked on


def test_overload_is_told_in_time() -> None:
    policy = ToyPolicy(sleep_s=0.02)
    app = make_app(
        toy_served(policy),
        queueing=Queueing(largest_batch=1, largest_queue=4, deadline_s=60.0),
        limits=Limits(in_flight=20),
    )
    with running(app) as server, connect(server.ws + PATH, compression=None) as socket:
        talk = Talk(socket)
        for number in range(20):
            talk.say(infer_message(number, question(number), None))
        answers = [talk.hear() for _ in range(20)]
    kinds = [a.get("code", a["type"]) for a in answers]
    assert set(kinds) == {"chunk", "overloaded"}
    assert all(a["retry_after_s"] > 0 for a in answers if a["type"] == "error")


# -- the client of it


def test_a_remote_policy_is_the_policy() -> None:
    """Same seeds, same answers as in this process: the episode's noise does not depend on the way."""
    with running() as server, RemotePolicy(server.ws) as policy:
        for seed in (0, 5):
            policy.reset(seed)
            for asked, card in enumerate((PANDA, ALOHA, PANDA)):
                seen = observation(card, seed=asked)
                chunk = policy.infer(seen, card.name)
                wanted = Question(observation=seen, card=card.name, noise_seed=noise_seed(seed, asked))
                np.testing.assert_array_equal(chunk.values, toy_values(wanted))
                np.testing.assert_allclose(chunk.times_s, seen.time_s + 0.1 * np.arange(1, 5))
        assert policy.last_timing_ms["infer_ms"] > 0
        assert policy.hello()["model"] == "toy"


def test_the_servers_no_is_an_error_with_its_code(server: Running) -> None:
    with RemotePolicy(server.ws) as policy:
        with pytest.raises(ServerError, match="not served") as refused:
            policy.infer(observation(), "spot")
        assert refused.value.code == "bad_request"
        assert policy.infer(observation(), "panda").card == "panda"


def test_a_late_answer_is_never_taken_for_a_newer_one(gated: tuple[Gated, Running]) -> None:
    policy, server = gated
    with RemotePolicy(server.ws, timeout_s=20.0) as remote:
        policy.gate.set()
        remote.infer(observation(seed=0), "panda")
        policy.gate.clear()
        remote._timeout_s = 0.3  # however slow this machine is: the next answer does not come
        with pytest.raises(ServerError, match="within") as lost:
            remote.infer(observation(seed=1), "panda")
        assert lost.value.code in ("lost", "late")
        remote._timeout_s = 20.0
        policy.gate.set()
        chunk = remote.infer(observation(seed=2), "panda")
        wanted = Question(observation=observation(seed=2), card="panda", noise_seed=noise_seed(0, 2))
        np.testing.assert_array_equal(chunk.values, toy_values(wanted))


@pytest.mark.parametrize(
    "text", ["", "http://", "ftp://x", "ws://x:0", "ws://x:99999", "ws://x/other", "ws://:8000"]
)
def test_an_address_that_is_none_is_told(text: str) -> None:
    with pytest.raises(KinemaError, match="ws://host:8000"):
        stream_url(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [("localhost:8000", "ws://localhost:8000"), ("ws://h:1/", "ws://h:1"), ("https://h", "wss://h"),
     ("ws://[::1]:8000", "ws://[::1]:8000"), (f"wss://h:1{PATH}", "wss://h:1")],
)  # fmt: skip
def test_addresses_may_be_written_in_several_ways(text: str, url: str) -> None:
    assert stream_url(text) == url + PATH


def test_many_clients_at_once_get_their_own_answers(server: Running) -> None:
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with RemotePolicy(server.ws) as policy:
                policy.reset(number)
                for asked in range(10):
                    seen = observation(seed=number)
                    wanted = Question(observation=seen, card="panda", noise_seed=noise_seed(number, asked))
                    np.testing.assert_array_equal(policy.infer(seen, "panda").values, toy_values(wanted))
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert faults == []


def test_every_part_of_a_question_travels() -> None:
    fields = {field.name for field in dataclasses.fields(Question)}
    sent = infer_message(0, question(), 1.0)
    assert fields - {"committed", "session"} <= set(sent)  # whatever a question gains must travel too


def test_a_session_is_its_connection_until_the_next_reset() -> None:
    """What a policy remembers between questions is never another client's."""
    seen: list[str] = []

    class Noting(ToyPolicy):
        def answer(self, questions: Any) -> Any:
            seen.extend(question.session for question in questions)
            return super().answer(questions)

    with running(make_app(toy_served(Noting()))) as server:
        for _ in range(2):
            with connect(server.ws + PATH, compression=None) as socket:
                talk = Talk(socket)
                talk.ask(infer_message(1, question(), None))
                talk.ask(infer_message(2, question(), None))
                talk.ask({"type": "reset", "id": 3})
                talk.ask(infer_message(4, question(), None))
    assert all(seen)
    assert [len({seen[i], seen[j]}) for i, j in ((0, 1), (3, 4), (1, 2), (0, 3), (2, 5))] == [1, 1, 2, 2, 2]
