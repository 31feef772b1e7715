"""openpi's protocol: its own client works unmodified, and its bytes are what a client of it expects."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import patient
import pytest
from PIL import Image
from toy import ALOHA, PANDA, Running, ToyPolicy, observation, running, toy_served, toy_values
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from kinema.runtime.policy import hold_action
from kinema.runtime.wire import pack, unpack
from kinema.schema import Question, Verdict, noise_seed
from kinema.serve.app import make_app
from kinema.serve.openpi import OpenpiOptions

SEEN = observation(PANDA, px=24)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(openpi_options=OpenpiOptions(guard=False)) as found:
        yield found


def libero_message(prompt: str = "lift") -> dict[str, Any]:
    return {
        "observation/image": SEEN.images["front"],
        "observation/wrist_image": SEEN.images["wrist"],
        "observation/state": SEEN.state,
        "prompt": prompt,
    }


def expected(asked: int = 0) -> np.ndarray:
    return toy_values(Question(observation=SEEN, card="panda", noise_seed=noise_seed(0, asked)))


# The card's own rate, at which an answer is the policy's chunk as it is, and no guard: what the rate and the
# guard do is tested in test_playback.py.
SAME = f"/?hz={PANDA.control_hz:g}"


def ask(server: Running, message: Any, path: str = SAME) -> Any:
    """The answer on a new connection: a map, or the text of the error."""
    with connect(server.ws + path, compression=None) as socket:
        socket.recv()
        socket.send(message if isinstance(message, bytes | str) else pack(message))
        answer = socket.recv(timeout=5)
        return answer if isinstance(answer, str) else unpack(answer)


def test_the_unmodified_client_works(server: Running) -> None:
    openpi_client = pytest.importorskip(
        "openpi_client.websocket_client_policy", reason="openpi-client is not installed"
    )
    policy = openpi_client.WebsocketClientPolicy(f"{server.ws}{SAME}")
    metadata = policy.get_server_metadata()
    assert metadata["model"] == "toy"
    first, second = policy.infer(libero_message()), policy.infer(libero_message())
    np.testing.assert_array_equal(first["actions"], expected(0))
    np.testing.assert_array_equal(second["actions"], expected(1))
    assert "prev_total_ms" not in first["server_timing"]
    assert second["server_timing"]["prev_total_ms"] >= first["server_timing"]["infer_ms"] > 0
    assert second["policy_timing"]["infer_ms"] > 0
    policy.reset()
    with pytest.raises(RuntimeError, match="instruction"):
        policy.infer({**libero_message(), "prompt": ""})


def test_the_unmodified_client_sends_its_key(server: Running, tmp_path: Any) -> None:
    client = pytest.importorskip(
        "openpi_client.websocket_client_policy", reason="openpi-client is not installed"
    ).WebsocketClientPolicy
    from test_auth import with_keys

    with with_keys(tmp_path) as (guarded, secret):
        policy = client(f"{guarded.ws}{SAME}", api_key=secret)
        assert policy.infer(libero_message())["actions"].shape == (4, 7)
        for wrong in (None, secret[:-1] + "x"):
            with pytest.raises(Exception, match="401"):
                client("127.0.0.1", guarded.port, api_key=wrong)


def test_the_bytes_on_the_wire(server: Running) -> None:
    """What a client in another language relies on: markers are bytes, names text, metadata first."""
    with connect(server.ws + SAME, compression=None) as socket:
        metadata = msgpack.unpackb(socket.recv(timeout=5), strict_map_key=True)
        assert isinstance(metadata, dict)
        socket.send(pack(libero_message()))
        raw = msgpack.unpackb(socket.recv(timeout=5))
    assert set(raw) == {"actions", "policy_timing", "server_timing"}
    actions = raw["actions"]
    assert list(actions) == [b"__ndarray__", b"data", b"dtype", b"shape"]
    assert (actions[b"__ndarray__"], actions[b"dtype"], actions[b"shape"]) == (True, "<f8", [4, 7])
    assert actions[b"data"] == expected().tobytes()


def test_text_markers_are_read_too(server: Running) -> None:
    def marked(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            shape = list(value.shape)
            return {"__ndarray__": True, "data": value.tobytes(), "dtype": value.dtype.str, "shape": shape}
        return value

    message = {name: marked(value) for name, value in libero_message().items()}
    np.testing.assert_array_equal(ask(server, msgpack.packb(message))["actions"], expected())


def test_pictures_in_openpis_other_forms_mean_the_same(server: Running) -> None:
    front, wrist = SEEN.images["front"], SEEN.images["wrist"]
    png = io.BytesIO()
    Image.fromarray(front).save(png, "PNG")
    state = {"observation/state": SEEN.state}
    for message in (
        {"images": {"front": front, "wrist": wrist}, "state": SEEN.state},
        {
            "images": {"cam_high": front.transpose(2, 0, 1), "cam_right_wrist": wrist.transpose(2, 0, 1)},
            **state,
        },
        {"observation/image": front / np.float32(255), "observation/wrist_image": wrist, **state},
        {"observation/image": png.getvalue(), "observation/wrist_image": wrist, "state": SEEN.state.tolist()},
    ):
        found = ask(server, {**message, "prompt": "lift"})
        np.testing.assert_array_equal(found["actions"], expected())


def test_the_body_may_be_named_in_the_address_or_the_message(server: Running) -> None:
    seen = observation(ALOHA, px=24)
    message = {**{name: image for name, image in seen.images.items()}, "state": seen.state, "prompt": "lift"}
    wanted = toy_values(Question(observation=seen, card="aloha", noise_seed=noise_seed(0, 0)))
    np.testing.assert_array_equal(ask(server, message, f"{SAME}&card=aloha")["actions"], wanted)
    np.testing.assert_array_equal(ask(server, {**message, "card": "aloha"})["actions"], wanted)
    parts = {"observation/joint_position": seen.state[:7], "observation/gripper_position": seen.state[7:]}
    del message["state"]  # it may come in parts, of a body that is driven by joints
    np.testing.assert_array_equal(ask(server, {**message, **parts, "card": "aloha"})["actions"], wanted)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"observation/image": None}, "camera 'front'"),
        ({"observation/state": np.zeros(8, np.float32)}, r"shape \(7,\)"),
        ({"observation/state": np.full(7, np.nan, np.float32)}, "finite"),
        ({"observation/image": np.full((24, 24, 3), 7.0)}, r"\[0, 1\]"),
        ({"observation/image": np.zeros((24, 24), np.uint8)}, "front"),
        ({"prompt": 3}, "instruction"),
        ({"card": "spot"}, "panda, aloha"),
        ({"prompt": "refuse me"}, "panda can be in"),
        ({"prompt": "crash"}, "policy_failed"),
    ],
    ids=str,
)
def test_a_fault_is_one_sentence_and_then_1011(server: Running, change: dict[str, Any], says: str) -> None:
    with connect(server.ws, compression=None) as socket:
        socket.recv()
        socket.send(pack({k: v for k, v in {**libero_message(), **change}.items() if v is not None}))
        error = socket.recv(timeout=5)
        assert isinstance(error, str)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    assert re.search(says, error)
    assert "Traceback" not in error
    assert "secret" not in error
    assert ".py" not in error


@pytest.mark.parametrize("data", [b"", b"\xc1", b"not msgpack", pack([1]), pack(None), "text", b"\x80"])
def test_hostile_bytes_are_answered_by_a_sentence(server: Running, data: Any) -> None:
    assert isinstance(ask(server, data), str)


def test_where_the_gate_refuses_the_client_gets_the_hold_action() -> None:
    verdict = Verdict(
        allowed=False, risk={"collision": 0.9}, limit={"collision": 0.1}, horizon_s=1.0, reason="table"
    )
    with running(make_app(toy_served(ToyPolicy(verdict=verdict)))) as server:
        answer = ask(server, libero_message())
    np.testing.assert_allclose(answer["actions"], np.tile(hold_action(PANDA, SEEN.state), (PANDA.chunk, 1)))
    assert (answer["verdict"]["allowed"], answer["verdict"]["reason"]) == (False, "table")


def test_health_is_what_openpi_says(server: Running) -> None:
    answer = patient.get(server.http + "/healthz")
    assert (answer.status_code, answer.text) == (200, "OK\n")


@pytest.mark.parametrize(
    ("query", "says"),
    [("card=spot", "panda, aloha"), ("hz=0", "hz"), ("hz=nan", "hz"), ("hz=fast", "hz"), ("hz=1e9", "hz")],
)
def test_what_an_address_may_not_ask_is_told_before_the_websocket_opens(
    server: Running, query: str, says: str
) -> None:
    """openpi's constructor takes the first frame for metadata: a sentence there would be a TypeError."""
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{server.ws}/?{query}", compression=None)
    assert refused.value.response.status_code == 422
    assert says in refused.value.response.body.decode()
