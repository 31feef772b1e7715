"""The policy that asks openpi servers: a server as openpi packs its messages, and our own server."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_auth import with_keys
from toy import PANDA, observation, running, toy_values
from websockets.sync.server import serve

from kinema.runtime.client import KEY_VARIABLE, ServerError
from kinema.runtime.openpi_policy import OpenpiPolicy, observation_keys
from kinema.schema import KinemaError, Question, noise_seed
from kinema.serve.openpi import OpenpiOptions

SEEN = observation(PANDA, px=24)
Answer = Callable[[dict[str, Any]], Any]


@contextmanager
def openpi_server(answer: Answer) -> Iterator[str]:
    """What openpi's own server does with a connection, with openpi's own packing: metadata, then answers."""
    packing = pytest.importorskip("openpi_client.msgpack_numpy", reason="openpi-client is not installed")

    def handle(socket: Any) -> None:
        socket.send(packing.packb({"name": "pi"}))
        for message in socket:
            found = answer(packing.unpackb(message))
            socket.send(found if isinstance(found, str) else packing.packb(found))
            if isinstance(found, str):
                return socket.close(1011)

    with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def test_a_server_of_openpis_is_asked_as_its_libero_policies_expect() -> None:
    asked: list[dict[str, Any]] = []
    rows = np.arange(70, dtype=np.float32).reshape(10, 7)

    def answer(message: dict[str, Any]) -> Any:
        asked.append(message)
        return {"actions": rows, "state": message["observation/state"], "server_timing": {"infer_ms": 1.0}}

    with openpi_server(answer) as url:
        policy = OpenpiPolicy(url, timeout_s=30.0)
        policy.reset(0)
        chunk = policy.infer(SEEN, "panda")
        assert policy.provenance == {"policy": f"openpi server at {url}", "metadata": {"name": "pi"}}
        policy.close()
    np.testing.assert_array_equal(chunk.values, rows)
    np.testing.assert_allclose(np.diff(chunk.times_s, prepend=SEEN.time_s), 1 / PANDA.control_hz)
    (message,) = asked
    assert set(message) == {"observation/image", "observation/wrist_image", "observation/state", "prompt"}
    np.testing.assert_array_equal(message["observation/image"], SEEN.images["front"])
    np.testing.assert_array_equal(message["observation/wrist_image"], SEEN.images["wrist"])
    np.testing.assert_array_equal(message["observation/state"], SEEN.state)
    assert message["prompt"] == SEEN.instruction


def test_our_own_server_answers_it_as_any_client_and_a_reset_begins_anew() -> None:
    with running(openpi_options=OpenpiOptions(guard=False)) as server:
        policy = OpenpiPolicy(server.ws, timeout_s=30.0)
        for number in (0, 1, 0):
            if number == 0:
                policy.reset(0)
            question = Question(observation=SEEN, card="panda", noise_seed=noise_seed(0, number))
            chunk = policy.infer(SEEN, "panda")
            np.testing.assert_array_equal(chunk.values, toy_values(question))
        assert policy.provenance["metadata"]["model"] == "toy"
        policy.close()


def test_a_servers_key_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with with_keys(tmp_path) as (server, secret):
        policy = OpenpiPolicy(server.ws, timeout_s=30.0)
        assert policy.provenance["policy"] == f"openpi server at {server.ws}"
        with pytest.raises(ServerError, match="401"):
            policy.infer(SEEN, "panda")
        monkeypatch.setenv(KEY_VARIABLE, secret)
        policy = OpenpiPolicy(server.ws, timeout_s=30.0)
        assert len(policy.infer(SEEN, "panda").values)
        policy.close()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("Traceback\n  File ...\nValueError: no such prompt", "it says: ValueError: no such prompt"),
        ({"actions": np.zeros((10, 14))}, "have 14 values, panda takes 7: "),
        ({"actions": np.zeros((0, 7))}, "no `actions`"),
        ({"actions": np.zeros(7)}, "no `actions`"),
        ({"action": np.zeros((10, 7))}, r"keys: \['action'\]"),
        ({"actions": np.full((10, 7), np.nan)}, "not finite"),
        ([1, 2], "a list instead of a map"),
    ],
)
def test_an_answer_that_is_none_is_an_error_and_the_next_question_is_asked_anew(
    answer: Any, told: str
) -> None:
    answers = iter([answer, {"actions": np.ones((2, 7))}])
    with openpi_server(lambda message: next(answers)) as url:
        policy = OpenpiPolicy(url, timeout_s=30.0)
        with pytest.raises(ServerError, match=told):
            policy.infer(SEEN, "panda")
        assert policy.infer(SEEN, "panda").values.sum() == 14
        policy.close()


def test_no_server_is_a_server_error_and_no_address_is_refused() -> None:
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:9/"):
        OpenpiPolicy("ws://127.0.0.1:9", timeout_s=5.0).infer(SEEN, "panda")
    with pytest.raises(KinemaError, match=r"no address of an openpi server: 'pi\.local'"):
        OpenpiPolicy("pi.local")


def test_no_two_cameras_share_a_key() -> None:
    from kinema.card.load import card_names, load_card

    for name in card_names():
        keys = observation_keys(load_card(name))
        assert len(set(keys.values())) == len(keys)
