"""What openpi's clients play: no faster than the card allows at the rate they name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import ALOHA, PANDA, Running, ToyPolicy, observation, running, toy_served
from websockets.sync.client import connect

from kinema.card.load import card_names, load_card
from kinema.runtime.limits import limits_of
from kinema.runtime.playback import Playback
from kinema.runtime.policy import hold_action
from kinema.runtime.wire import pack, unpack
from kinema.schema import ActionChunk, KinemaError, Observation, Question
from kinema.serve.app import make_app
from kinema.serve.openpi import OpenpiOptions
from laws import examples

CARDS = [card for card in map(load_card, card_names()) if card.actions and card.control != "hand"]


def at_home(card: Any, time_s: float = 5.0) -> Observation:
    low, high = np.array([channel.range for channel in card.states]).T
    return Observation(images={}, state=(low + high) / 2, instruction="x", time_s=time_s)


def chunk_of(card: Any, seen: Observation, values: np.ndarray) -> ActionChunk:
    times_s = seen.time_s + np.arange(1, len(values) + 1) / card.control_hz
    return ActionChunk(values=values, times_s=times_s, card=card.name)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
@given(data=st.data())
@examples(6)
def test_no_pose_moves_faster_than_its_chunk_meant_whatever_the_rate(card: Any, data: st.DataObject) -> None:
    seen = at_home(card)
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    hz = data.draw(st.sampled_from([card.control_hz, 15.0, 20.0, 50.0, 200.0]))
    start = hold_action(card, seen.state)
    values = start + 0.05 * np.cumsum(rng.normal(size=(card.chunk, len(card.actions))), axis=0)
    rows = Playback(card, hz, guard=False).actions(seen, chunk_of(card, seen, values))
    assert len(rows) == Playback(card, hz, guard=False).rows == int(card.chunk / card.control_hz * hz + 1e-6)
    assert np.isfinite(rows).all()
    asked = {tuple(value) for value in values}
    if hz == card.control_hz:
        np.testing.assert_allclose(rows, values, atol=1e-9)
    turning = {i for motion in limits_of(card).motions for i in motion.turn}
    moving = sorted({i for motion in limits_of(card).motions for i in motion.columns} - turning)
    if card.hold.action != "zero" and moving:
        path = np.concatenate([start[None], values])[:, moving]
        meant = np.abs(np.diff(path, axis=0)).max(axis=0) * card.control_hz  # per second
        played = np.abs(np.diff(np.concatenate([start[None], rows])[:, moving], axis=0)).max(axis=0) * hz
        assert (played <= meant * (1 + 1e-6) + 1e-9).all()
    else:
        assert all(tuple(row) in asked for row in rows)  # a speed stays until the next one is due


@pytest.mark.parametrize("card", [c for c in CARDS if limits_of(c).motions], ids=lambda card: card.name)
@pytest.mark.parametrize("hz", [10.0, 50.0])
def test_the_guard_bounds_the_speed_at_the_rate_that_is_played(card: Any, hz: float) -> None:
    """A policy that asks for jumps from one end of every range to the other."""
    seen = at_home(card)
    low, high = np.array([channel.range for channel in card.actions]).T
    values = np.where(np.arange(card.chunk)[:, None] % 2, low, high)
    rows = Playback(card, hz, guard=True).actions(seen, chunk_of(card, seen, values))
    path = np.concatenate([hold_action(card, seen.state)[None], rows])
    assert ((path >= low - 1e-6) & (path <= high + 1e-6))[1:].all()
    if card.control == "joint_position":
        for motion in limits_of(card).motions:
            speed = np.abs(np.diff(path[:, list(motion.columns)], axis=0)).max(axis=0) * hz
            assert (speed <= motion.speed * (1 + 1e-6)).all()


def test_a_state_that_the_card_does_not_know_is_no_start() -> None:
    seen = at_home(PANDA)
    seen.state[0] = np.nan
    with pytest.raises(KinemaError):
        Playback(PANDA, 50.0, guard=True).actions(seen, chunk_of(PANDA, seen, np.zeros((4, 7))))


class Runs(ToyPolicy):
    """Asks ALOHA's joints to go as fast as at 10 Hz they may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Question] = []

    def answer(self, questions: Sequence[Question]) -> list[ActionChunk]:
        self.asked += questions
        return super().answer(questions)

    def _chunk(self, question: Question) -> ActionChunk:
        steps = np.arange(1, ALOHA.chunk + 1)[:, None]
        values = hold_action(ALOHA, question.observation.state) + 0.02 * steps
        times_s = question.observation.time_s + steps[:, 0] / ALOHA.control_hz
        return ActionChunk(values=values, times_s=times_s, card="aloha")


@pytest.fixture(scope="module")
def policy() -> Runs:
    return Runs()


@pytest.fixture(scope="module")
def server(policy: Runs) -> Iterator[Running]:
    with running(make_app(toy_served(policy), openpi_options=OpenpiOptions())) as found:
        yield found


class Body:
    """openpi's environment: it notes what it is sent."""

    def __init__(self, seen: Observation) -> None:
        self.seen, self.sent = seen, []  # type: ignore[var-annotated]

    def reset(self) -> None: ...

    def is_episode_complete(self) -> bool:
        return len(self.sent) >= 60

    def get_observation(self) -> dict[str, Any]:
        state = self.sent[-1] if self.sent else self.seen.state
        return {**dict(self.seen.images), "state": state, "prompt": "lift"}

    def apply_action(self, action: dict[str, Any]) -> None:
        self.sent.append(np.array(action["actions"]))


@pytest.mark.parametrize("query", ["", "&hz=50", "&hz=25"])
def test_an_unmodified_openpi_runtime_moves_as_fast_as_meant(server: Running, query: str) -> None:
    websocket = pytest.importorskip("openpi_client.websocket_client_policy", reason="no openpi-client")
    pytest.importorskip("tree", reason="openpi-client's dm-tree is not installed")
    from openpi_client.action_chunk_broker import ActionChunkBroker
    from openpi_client.runtime.agents.policy_agent import PolicyAgent
    from openpi_client.runtime.runtime import Runtime

    low, high = np.array([channel.range for channel in ALOHA.states]).T
    body = Body(observation(ALOHA, px=16))
    body.seen.state[:] = (low + high) / 2
    client = websocket.WebsocketClientPolicy(f"{server.ws}/?card=aloha{query}")
    hz = client.get_server_metadata()["control_hz"]
    assert hz == (25.0 if "25" in query else 50.0)
    broker = ActionChunkBroker(policy=client, action_horizon=16)
    Runtime(environment=body, agent=PolicyAgent(policy=broker), subscribers=[], max_hz=0, num_episodes=1,
            max_episode_steps=60).run()  # fmt: skip
    joints = [i for motion in limits_of(ALOHA).motions for i in motion.columns]
    steps = np.abs(np.diff(np.array(body.sent)[:, joints], axis=0))
    assert steps.max() * hz <= 0.02 * ALOHA.control_hz * 1.01
    assert steps.max() > 0


def test_the_metadata_says_how_the_answers_are_to_be_played(server: Running) -> None:
    with connect(server.ws + "/?card=aloha&hz=20", compression=None) as socket:
        told = unpack(socket.recv(timeout=5))
    assert (told["card"], told["control_hz"], told["guarded"], told["idle_s"]) == ("aloha", 20.0, True, None)
    assert told["action_horizon"] == int(ALOHA.chunk / ALOHA.control_hz * 20 + 1e-6)


def test_a_session_has_the_connections_time_and_ends_with_a_reset(server: Running, policy: Runs) -> None:
    policy.asked.clear()
    seen = observation(ALOHA, px=16)
    message = {**dict(seen.images), "state": seen.state, "prompt": "lift"}
    with connect(server.ws + "/?card=aloha", compression=None) as socket:
        socket.recv(timeout=5)
        for sent in (message, message, {"endpoint": "reset"}, message):
            socket.send(pack(sent))
            answer = unpack(socket.recv(timeout=5))
            assert ("actions" in answer) == (sent is message)
    first, second, third = policy.asked
    assert 0 <= first.observation.time_s < second.observation.time_s < third.observation.time_s
    assert first.session == second.session != third.session
    assert first.noise_seed == third.noise_seed != second.noise_seed


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"observation/exterior_image_1_left": 0, "observation/wrist_image_left": 0,
          "observation/joint_position": np.zeros(7), "observation/gripper_position": np.zeros(1)}, "DROID"),
        ({"observation/image": 0, "observation/wrist_image": 0, "observation/state": np.zeros(8)}, "LIBERO"),
        ({"images": {"cam_high": 0}, "state": np.zeros(14)}, "cam_left_wrist"),
        ({"base_rgb": 0, "wrist_rgb": 0, "joints": np.zeros(6), "gripper": 0.0}, "ur5e"),
    ],
    ids=["DROID", "LIBERO", "ALOHA sim", "UR5"],
)  # fmt: skip
def test_openpis_own_examples_are_told_what_to_send(sent: dict[str, Any], says: str) -> None:
    card = ALOHA if "images" in sent else PANDA
    from kinema.serve.limits import Limits
    from kinema.serve.openpi_keys import observation_of
    from kinema.serve.refusal import Refusal

    picture = np.zeros((16, 16, 3), np.uint8)

    def pictured(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: pictured(inner) for name, inner in value.items()}
        return picture if isinstance(value, int) else value

    message = {name: pictured(value) for name, value in sent.items()} | {"prompt": "lift"}
    if "joints" in sent:
        ur5e = load_card("ur5e")
        seen = observation_of(message, ur5e, toy_served(cards=[ur5e]), Limits(), time_s=0.0)
        assert seen.state.shape == (7,)  # this one is understood as it is, for the body that it is of
    with pytest.raises(Refusal, match=says) as refused:
        observation_of(message, card, toy_served(), Limits(), time_s=0.0)
    assert refused.value.code == "bad_request"
