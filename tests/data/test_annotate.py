"""The annotator against a local stand-in that speaks the chat-completions protocol over a real socket."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kinema.data.annotate import KEY_VARIABLE, Annotator, Clip, Endpoint, UnansweredError
from kinema.data.captions import LAYERS
from kinema.schema import KinemaError

GOOD = {
    "goal": "put the block away",
    "action": "the arm moves down",
    "feedback": "the block is held",
    "comprehensive": " ".join(["word"] * 60),
    "concise": " ".join(["word"] * 20),
}
Answer = Callable[[dict[str, Any]], tuple[int, bytes, Mapping[str, str]]]


def _completion(text: str) -> tuple[int, bytes, Mapping[str, str]]:
    message = {"role": "assistant", "content": text}
    body = {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": message}]}
    return 200, json.dumps(body).encode(), {}


def _caption(**changes: str) -> Answer:
    return lambda _: _completion("```json\n" + json.dumps(GOOD | changes) + "\n```")


def _score(score: object, criticism: str = "") -> Answer:
    return lambda _: _completion(json.dumps({"score": score, "criticism": criticism}))


def _status(code: int, **headers: str) -> Answer:
    return lambda _: (
        code,
        b'{"error": {"message": "busy"}}',
        {k.replace("_", "-"): v for k, v in headers.items()},
    )


def _text(text: str) -> Answer:
    return lambda _: _completion(text)


@dataclass
class StandIn:
    """Gives the prepared answers in turn and keeps what it was asked."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    state = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.asked.append(body)
            state.headers.append(dict(self.headers))
            state.paths.append(self.path)
            code, answer, headers = state.answers.pop(0)(body)
            try:
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                pass  # the asker did not wait

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield state
    server.shutdown()
    server.server_close()


CLIP = Clip(
    frames=np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 16, 3), np.uint8),
    cameras=("front", "wrist"),
    body="Franka Panda",
    instruction="put the block away",
)


def _ask(stand_in: StandIn, answers: list[Answer], **settings: Any) -> tuple[Any, list[float]]:
    stand_in.answers = answers
    pauses: list[float] = []
    endpoint = replace(Endpoint(url=stand_in.url, model="vision", pictures=4), **settings)
    with Annotator(endpoint, sleep=pauses.append) as annotator:
        return annotator.describe(CLIP), pauses


def test_a_good_answer_is_taken_and_the_request_is_a_chat_completion(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    annotation, pauses = _ask(stand_in, [_caption(), _score(9)], key=Endpoint.given("http://x", "m").key)
    assert annotation.layers == GOOD
    assert (annotation.score, annotation.rounds, pauses) == (9.0, 1, [])
    asked, judged = stand_in.asked
    assert stand_in.paths == ["/v1/chat/completions"] * 2
    assert stand_in.headers[0]["Authorization"] == "Bearer secret"
    assert asked["model"] == "vision"
    text, *pictures = asked["messages"][0]["content"]
    assert text["type"] == "text"
    assert all(word in text["text"] for word in ("front and wrist", "Franka Panda", "put the block away"))
    shown = []
    for picture in pictures:
        head, _, data = picture["image_url"]["url"].partition(",")
        assert (picture["type"], head) == ("image_url", "data:image/png;base64")
        shown.append(int(np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))[0, 0, 0]))
    assert shown == [0, 6, 13, 19]
    assert GOOD["action"] in judged["messages"][0]["content"][0]["text"]


def test_a_busy_server_is_asked_again_and_again_later(stand_in: StandIn) -> None:
    annotation, pauses = _ask(
        stand_in, [_status(503), _status(500), _status(429, retry_after="7"), _caption(), _score(8)]
    )
    assert annotation.score == 8
    assert pauses[2] == 7.0
    assert 0.5 <= pauses[0] <= 1.5 <= 2 * pauses[1]


def test_a_server_that_never_answers_well_is_given_up(stand_in: StandIn) -> None:
    with pytest.raises(UnansweredError, match="after 4 tries: status 503"):
        _ask(stand_in, [_status(503)] * 4)
    assert len(stand_in.asked) == 4


def test_a_slow_answer_is_asked_for_again(stand_in: StandIn) -> None:
    gone_on = threading.Event()

    def slow(_: dict[str, Any]) -> tuple[int, bytes, Mapping[str, str]]:
        gone_on.wait(30)
        return _completion("{}")

    stand_in.answers = [slow, _caption(), _score(8)]
    endpoint = Endpoint(url=stand_in.url, model="vision", pictures=1, timeout_s=2.0)
    with Annotator(endpoint, sleep=lambda _: gone_on.set()) as annotator:
        assert annotator.describe(CLIP).rounds == 1
    assert gone_on.is_set()


def test_a_server_that_is_not_there(stand_in: StandIn) -> None:
    with pytest.raises(UnansweredError, match="after 2 tries: Connect"):
        _ask(stand_in, [], url="http://127.0.0.1:9", tries=2)


@pytest.mark.parametrize("code", [400, 401, 404, 302])
def test_a_refusal_is_not_repeated(stand_in: StandIn, code: int) -> None:
    with pytest.raises(UnansweredError, match=f"refused: status {code}"):
        _ask(stand_in, [_status(code)])
    assert len(stand_in.asked) == 1


def test_the_judges_criticism_is_handed_back(stand_in: StandIn) -> None:
    better = _caption(goal="put the red block away")
    annotation, _ = _ask(stand_in, [_caption(), _score(3, "the block is red"), better, _score(9)])
    assert annotation.layers["goal"] == "put the red block away"
    assert annotation.rounds == 2
    assert "the block is red" in stand_in.asked[2]["messages"][0]["content"][0]["text"]


def test_what_never_gets_good_is_not_taken(stand_in: StandIn) -> None:
    with pytest.raises(UnansweredError, match="best caption scored 4"):
        _ask(stand_in, [_caption(), _score(2), _caption(), _score(4)], rounds=1)


@pytest.mark.parametrize(
    ("nonsense", "said"),
    [
        (_text("I cannot see pictures."), "no JSON object"),
        (_text("{" * 3000 + "}" * 3000), "no JSON object"),
        (_text('["a list"]'), "no JSON object"),
        (_text("{}"), "the keys goal, action"),
        (_caption(goal=""), "the keys goal"),
        (_caption(concise="too short"), "concise has 2 words instead of 15 to 30"),
        (_caption(comprehensive="a " * 300), "comprehensive has 300 words"),
    ],
)
def test_nonsense_is_named_in_the_next_question(stand_in: StandIn, nonsense: Answer, said: str) -> None:
    annotation, _ = _ask(stand_in, [nonsense, _caption(), _score(9)])
    assert annotation.rounds == 2
    assert said in stand_in.asked[1]["messages"][0]["content"][0]["text"]


@pytest.mark.parametrize("score", [None, "9", True, -1, 11, float("inf")])
def test_a_judgement_that_is_none_is_a_bad_one(stand_in: StandIn, score: object) -> None:
    with pytest.raises(UnansweredError, match="the judge's score"):
        _ask(stand_in, [_caption(), _score(score)], rounds=0)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}']
)
def test_an_answer_that_is_no_completion(stand_in: StandIn, body: bytes) -> None:
    with pytest.raises(UnansweredError, match="the answer"):
        _ask(stand_in, [lambda _: (200, body, {})])


def test_sizes_are_limited_both_ways(stand_in: StandIn) -> None:
    with pytest.raises(UnansweredError, match="larger than 1000 bytes"):
        _ask(stand_in, [_text("x" * 5000)], max_answer_bytes=1000)
    asked = len(stand_in.asked)
    with pytest.raises(UnansweredError, match="above the limit of 100"):
        _ask(stand_in, [], max_bytes=100)
    assert len(stand_in.asked) == asked


def test_a_check_of_ones_own_counts_like_the_judge(stand_in: StandIn) -> None:
    stand_in.answers = [_caption(action="the arm moves up"), _caption(), _score(9)]
    with Annotator(Endpoint(url=stand_in.url, model="vision"), sleep=lambda _: None) as annotator:
        annotation = annotator.describe(
            CLIP, lambda layers: ["it moves down"] if "up" in layers["action"] else []
        )
    assert annotation.layers == {layer: GOOD[layer] for layer in LAYERS}
    assert "it moves down" in stand_in.asked[1]["messages"][0]["content"][0]["text"]


@pytest.mark.parametrize("settings", [{"url": "ftp://x"}, {"url": ""}, {"model": ""}, {"tries": 0}])
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(KinemaError):
        Endpoint(**({"url": "http://x", "model": "m"} | settings))
