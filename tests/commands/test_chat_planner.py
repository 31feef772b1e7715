"""The chat planner against a real HTTP server that answers well, badly, slowly, hugely, or not at all."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kinema.commands.chat_planner import KEY_VARIABLE, MOST_STEPS, ChatPlanner, steps_in
from kinema.commands.long_tasks import planner_factory
from kinema.runtime.long_task import Tried
from kinema.schema import KinemaError

GOAL, SEEN = "put everything away", ("red block", "blue bowl")
STEP = "put the red block in the blue bowl"


class Server:
    """Answers by the prepared functions in turn, the last one for ever."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answers: list[Callable[[BaseHTTPRequestHandler], None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                outer.keys.append(self.headers.get("authorization"))
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                with contextlib.suppress(OSError):  # the asker did not wait
                    answer(self)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def _sent(code: int, body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def _said(text: Any) -> Callable[[BaseHTTPRequestHandler], None]:
    return _sent(200, json.dumps({"choices": [{"message": {"content": text}}]}).encode())


def _steps(*steps: Any) -> Callable[[BaseHTTPRequestHandler], None]:
    return _said(json.dumps({"steps": list(steps)}))


def _planner(server: Server, **limits: Any) -> ChatPlanner:
    return ChatPlanner(server.url, "small", **({"timeout_s": 2.0, "tries": 1} | limits))


def test_a_good_answer_is_the_plan_in_the_policys_words(server: Server, monkeypatch: Any) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    server.answers = [
        _said('```json\n{"steps": ["Place the red block into the blue bowl", "push the red button"]}\n```')
    ]
    tried = [Tried(step=STEP, said=STEP, number=1, began_s=0.0, ended_s=9.0, done=False, chance=0.1)]
    assert list(_planner(server).plan(GOAL, SEEN, tried)) == [STEP, "press the red button"]
    (asked,) = server.asked
    text = asked["messages"][0]["content"]
    assert GOAL in text
    assert "blue bowl" in text
    assert f"{STEP}: not done" in text
    assert asked["model"] == "small"
    assert server.keys == ["Bearer secret"]


def test_no_steps_are_a_plan_too(server: Server) -> None:
    server.answers = [_steps()]
    assert list(_planner(server).plan(GOAL, SEEN, [])) == []


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (_steps(STEP, "fly to the moon"), "cannot act on the step 'fly to the moon'"),
        (_steps("open the drawer"), "open the drawer"),
        (_steps("tidy up the table"), "tidy up the table"),
        (_steps(STEP + "; rm -rf /, then " + "x" * 500), "at most 200 characters"),
        (_steps({"say": STEP}), "must be a sentence"),
        (_steps(*[STEP] * (MOST_STEPS + 1)), f"at most {MOST_STEPS}"),
        (_said('{"steps": "all of them"}'), "must be"),
        (_said('{"steps": [], "also": 1}'), "must be"),
        (_said('["' + STEP + '"]'), "no JSON object"),
        (_said("I would rather not."), "no JSON object"),
        (_said("{" * 50_000), "no JSON object"),
        (_said(None), "content is no text"),
        (_sent(200, b'{"choices": []}'), "no chat completion"),
        (_sent(200, b"\xff\x00\xfe"), "no chat completion"),
        (_sent(200, b"[" * 100_000), "no chat completion"),
        (_sent(200, b"x" * 3_000_000), "larger than 200000 bytes"),
        (_sent(401, b"no"), "status 401"),
        (_sent(500, b"no"), "status 500"),
        (_sent(302, b""), "status 302"),
    ],
)
def test_a_bad_answer_is_an_error_that_names_the_endpoint(server: Server, answer: Any, named: str) -> None:
    server.answers = [answer]
    with pytest.raises(KinemaError, match=named) as found:
        _planner(server).plan(GOAL, SEEN, [])
    assert server.url in str(found.value)
    assert len(server.asked) <= 2


def test_a_refused_answer_may_be_mended_once(server: Server) -> None:
    server.answers = [_steps("fly"), _steps(STEP)]
    assert list(_planner(server).plan(GOAL, SEEN, [])) == [STEP]
    assert "'fly'" in server.asked[1]["messages"][0]["content"]


def test_a_silent_and_a_dripping_endpoint_are_left(server: Server) -> None:
    over = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        over.wait(20)

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    for slow in (silent, dripping):
        server.answers = [slow]
        began = time.monotonic()
        with pytest.raises(KinemaError, match=r"Timeout|longer than") as found:
            _planner(server, timeout_s=0.5).plan(GOAL, SEEN, [])
        assert server.url in str(found.value)
        assert time.monotonic() - began < 10
    over.set()


def test_an_endpoint_that_dies_is_named(server: Server) -> None:
    def dies(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choi')
        handler.connection.close()

    server.answers = [dies]
    with pytest.raises(KinemaError, match="no answer after 1 tries") as found:
        _planner(server).plan(GOAL, SEEN, [])
    assert server.url in str(found.value)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(KinemaError, match="Connect"):
        _planner(server).plan(GOAL, SEEN, [])


def test_who_plans_is_checked_when_it_is_named() -> None:
    with pytest.raises(KinemaError, match="choices: built-in"):
        planner_factory("clever", None)
    with pytest.raises(KinemaError, match="--planner-model"):
        planner_factory("http://localhost:1/v1", None)
    with pytest.raises(KinemaError, match="has no model"):
        planner_factory("built-in", "small")
    assert planner_factory("https://far.example/v1", "small").build() is not None


def test_steps_are_read_in_the_policys_words() -> None:
    assert steps_in('{"steps": ["hit the green button"]}') == ("press the green button",)
