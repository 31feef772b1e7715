"""The policy in lerobot's hands against the same policy in kinema's: equal numbers, and the guard between."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.envs.utils import preprocess_observation
from lerobot.policies.factory import get_policy_class, make_policy, make_pre_post_processors
from lerobot_policy_kinema import modeling_kinema, session
from lerobot_policy_kinema.modeling_kinema import KinemaPolicy
from lerobot_robot_tabletop import TabletopEnvConfig, TabletopGym

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.commands.serve.bench_serve import server
from kinema.model.policy.act import LocalPolicy
from kinema.runtime.clock import SimulatedClock
from kinema.runtime.inference import SimulatedInference
from kinema.runtime.limits import limits_of
from kinema.runtime.loop import ControlLoop
from kinema.runtime.robot import Body
from kinema.runtime.strategy import strategy
from kinema.runtime.wiring import card_units
from kinema.schema import ActionChunk, KinemaError, Observation

SENTENCE = "put the red block in the blue bowl"
Load = Callable[..., tuple[KinemaPolicy, Any, Any]]


@pytest.fixture
def load() -> Load:
    """A folder through lerobot's own factories, as `lerobot-eval` loads it."""

    def loaded(folder: Path, body: str = "panda", **overrides: Any) -> tuple[KinemaPolicy, Any, Any]:
        words = [f"--{key}={value}" for key, value in overrides.items()]
        config = PreTrainedConfig.from_pretrained(folder, cli_overrides=words)
        config.pretrained_path = folder
        policy = make_policy(config, env_cfg=TabletopEnvConfig(body=body), rename_map={"any": "any"})
        before, after = make_pre_post_processors(
            config,
            pretrained_path=str(folder),
            preprocessor_overrides={
                "device_processor": {"device": "cpu"},
                "rename_observations_processor": {"rename_map": {}},
            },
        )
        return policy, before, after

    return loaded


@pytest.fixture(scope="module")
def scene() -> list[Observation]:
    """What a Panda sees while it is driven a little, every control step."""
    env = TabletopGym("panda", "pick_place")
    env.reset(seed=5)
    seen = []
    for step in range(12):
        seen.append(env.world.observe())
        env.world.step(seen[-1].state + np.float32(0.002 * step))
    env.close()
    return seen


def batch_of(seen: Observation, names: dict[str, str] | None = None, state: Any = None) -> dict[str, Any]:
    """As lerobot hands it to the preprocessor."""
    names = names or {name: name for name in seen.images}
    raw = {"pixels": {names[name]: image[None] for name, image in seen.images.items()}}
    raw["agent_pos"] = np.asarray(seen.state if state is None else state, np.float32)[None]
    return {**preprocess_observation(raw), "task": [seen.instruction]}


def test_lerobot_finds_the_policy_by_its_type() -> None:
    assert "kinema" in PreTrainedConfig.get_known_choices()
    assert get_policy_class("kinema") is KinemaPolicy


def test_a_chunk_is_the_one_that_kinema_answers(
    load: Load, for_env: Path, nano: Path, scene: list[Observation]
) -> None:
    policy, before, after = load(for_env, seed=4)
    own = LocalPolicy(nano)
    own.reset(4)
    for seen in scene[:3]:
        chunk = after(policy.predict_action_chunk(before(batch_of(seen))))
        assert chunk.shape == (1, load_card("panda").chunk, len(load_card("panda").actions))
        np.testing.assert_allclose(chunk[0], own.infer(seen, "panda").values, atol=1e-6)


def test_a_robot_in_degrees_is_asked_and_answered_in_degrees(
    load: Load, for_robot: Path, nano: Path, scene: list[Observation]
) -> None:
    card = load_card("ur5e")
    scale = np.array([100 if channel.unit == "fraction" else 180 / np.pi for channel in card.states])
    state = np.array([0.1, -1.7, 2.0, -1.9, -1.5, 0.2, 0.5], np.float32)
    seen = Observation(images=scene[0].images, state=state, instruction=SENTENCE, time_s=0.0)
    policy, before, after = load(for_robot, "ur5e")
    chunk = after(
        policy.predict_action_chunk(
            before(batch_of(seen, {"front": "overview", "wrist": "hand"}, state * scale))
        )
    )
    own = LocalPolicy(nano)
    own.reset(0)
    np.testing.assert_allclose(chunk[0].numpy() / scale, own.infer(seen, "ur5e").values, atol=1e-5)


class Replay:
    """A robot that reads what was seen before, for kinema's own loop."""

    name, is_connected = "replay", True

    def __init__(self, scene: list[Observation]) -> None:
        self.card = load_card("panda")
        self.units, self.scene, self.step = card_units(self.card), scene, 0
        self.action_features = {f"{channel.name}.pos": float for channel in self.card.actions}
        pictures = dict.fromkeys(self.card.camera_names, (96, 96, 3))
        self.observation_features = {f"{c.name}.pos": float for c in self.card.states} | pictures

    def get_observation(self) -> dict[str, Any]:
        seen = self.scene[self.step]
        return dict(zip(self.observation_features, map(float, seen.state))) | dict(seen.images)

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        return action


def test_actions_are_those_of_kinemas_own_loop(
    load: Load, for_env: Path, nano: Path, scene: list[Observation]
) -> None:
    policy, before, after = load(for_env)
    robot, clock = Replay(scene), SimulatedClock()
    own = LocalPolicy(nano)
    own.reset(0)
    loop = ControlLoop(
        Body(robot.card, robot),  # type: ignore[arg-type]
        SimulatedInference(own, lambda _: 0.0),
        clock,
        strategy("synchronous", robot.card),
    )
    loop.begin(scene[0].instruction)
    for robot.step, seen in enumerate(scene):
        wanted = loop.step().sent
        clock.sleep_until(clock.now_s() + loop.period_s)
        action = after(policy.select_action(before(batch_of(seen))))
        np.testing.assert_allclose(action[0], wanted, atol=1e-6)
    assert policy._sessions[0].loop.counts.asked == loop.counts.asked >= 3  # at least every four steps
    assert np.abs(wanted - scene[0].state).max() > 1e-3  # not all was holding


def test_a_reset_forgets_the_chunk_and_takes_the_next_seed(
    load: Load, for_env: Path, scene: list[Observation]
) -> None:
    policy, before, _ = load(for_env)
    batch = before(batch_of(scene[0]))
    first = [policy.select_action(batch) for _ in range(2)]
    policy.reset()
    second = policy.select_action(batch)
    other, _, _ = load(for_env, seed=1)
    torch.testing.assert_close(second, other.select_action(batch))
    assert not torch.equal(first[0], second)


class Wild:
    """Asks for one number in every channel, at every step."""

    def __init__(self, card: EmbodimentCard, value: float) -> None:
        self.card, self.value = card, value

    def reset(self, seed: int) -> None: ...

    def infer(self, seen: Observation, card_name: str, committed: Any = None) -> ActionChunk:
        values = np.full((self.card.chunk, len(self.card.actions)), self.value)
        times_s = seen.time_s + (1 + np.arange(self.card.chunk)) / self.card.control_hz
        return ActionChunk(values=values, times_s=times_s, card=card_name)


@pytest.mark.parametrize("wild", ["far", "nan"])
def test_what_the_policy_asks_for_passes_the_guard(
    load: Load, for_env: Path, scene: list[Observation], wild: str
) -> None:
    card = load_card("panda")
    policy, before, _ = load(for_env)

    policy._policy = Wild(card, np.nan if wild == "nan" else 5.0)  # type: ignore[assignment]
    begun, last = scene[0].state, scene[0].state.astype(float)
    batch = before(batch_of(scene[0]))
    for _ in range(4):
        action = policy.select_action(batch)[0].double().numpy()
        motion = limits_of(card).motions[0]
        moved = np.abs(motion.joints_per @ motion.between(last, action))
        assert (moved <= motion.speed / card.control_hz * (1 + 1e-3)).all()
        assert (action >= limits_of(card).low - 1e-6).all()
        assert (action <= limits_of(card).high + 1e-6).all()
        last = action
    if wild == "nan":
        np.testing.assert_allclose(last[:6], begun[:6], atol=1e-6)


def test_a_robot_that_is_sent_more_often_moves_less_each_time(
    load: Load, for_env: Path, scene: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    card, clock = load_card("panda"), SimulatedClock()
    monkeypatch.setattr(session, "RealClock", lambda: clock)
    monkeypatch.setattr(
        session, "ThreadedInference", lambda policy: SimulatedInference(policy, lambda _: 0.0)
    )
    policy, before, _ = load(for_env, clock="real")
    policy._policy = Wild(card, 5.0)  # type: ignore[assignment]
    batch, sent = before(batch_of(scene[0])), []
    for step in range(6):
        clock.sleep_until(step / (3 * card.control_hz))  # lerobot at three times the card's rate
        sent.append(policy.select_action(batch)[0].double().numpy())
    motion = limits_of(card).motions[0]
    for last, action in pairwise(sent):
        moved = np.abs(motion.joints_per @ motion.between(last, action))
        assert (moved <= motion.speed / card.control_hz / 3 * (1 + 1e-3)).all()


def test_a_simulation_of_several_bodies_is_answered_row_by_row(
    load: Load, for_env: Path, scene: list[Observation]
) -> None:
    policy, before, _ = load(for_env)
    one = batch_of(scene[0])
    three = {k: v * 3 if isinstance(v, list) else v.repeat(3, *[1] * (v.ndim - 1)) for k, v in one.items()}
    action = policy.select_action(before(three))
    assert action.shape == (3, len(load_card("panda").actions))
    real, before, _ = load(for_env, clock="real")
    with pytest.raises(KinemaError, match=r"a real clock is for one body.*--policy\.clock=steps"):
        real.select_action(before(three))


def test_a_server_answers_the_same(
    load: Load, for_env: Path, scene: list[Observation], tmp_path: Path
) -> None:
    local, before, _ = load(for_env)
    batch = before(batch_of(scene[0]))
    with server("nano", tmp_path) as running:
        remote, _, _ = load(for_env, server=f"ws://{running.host}", timeout_s=60)
        np.testing.assert_allclose(
            remote.predict_action_chunk(batch), local.predict_action_chunk(batch), atol=1e-5
        )
    with pytest.raises(KinemaError, match="lost"):
        load(for_env, server=f"ws://{running.host}")


def test_a_policy_that_does_nothing_keeps_the_robot_where_it_is(
    load: Load, for_env: Path, scene: list[Observation]
) -> None:
    policy, before, _ = load(for_env, server="hold")
    for _ in range(3):
        action = policy.select_action(before(batch_of(scene[0])))
        np.testing.assert_allclose(action[0], scene[0].state, atol=1e-6)


def test_a_repository_of_the_hub_is_fetched_whole(
    for_env: Path, scene: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    fetch = lambda name, revision: asked.append((name, revision)) or str(for_env)  # noqa: E731
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    config = PreTrainedConfig.from_pretrained(for_env, cli_overrides=["--server=hold"])
    policy = KinemaPolicy.from_pretrained("me/panda", config=config, revision="v1")
    assert asked == [("me/panda", "v1")]
    np.testing.assert_allclose(policy.select_action(batch_of(scene[0]))[0], scene[0].state, atol=1e-6)


# -- what does not fit


def test_a_folder_of_another_body_than_the_environments(load: Load, for_env: Path) -> None:
    env, config = TabletopEnvConfig(), PreTrainedConfig.from_pretrained(for_env)
    env.features["action"].shape = (10,)
    config.pretrained_path = for_env
    with pytest.raises(KinemaError, match=r"an action of shape \(10,\); panda was wired to 7"):
        make_policy(config, env_cfg=env)


class Meta:
    """What lerobot says of a data set that it will write."""

    def __init__(self, states: list[str], actions: list[str], fps: float = 10) -> None:
        self.fps, self.features = fps, {"observation.state": {"names": states}, "action": {"names": actions}}


def robot_names() -> list[str]:
    return [f"{channel.name}.pos" for channel in load_card("ur5e").actions]


def test_names_of_a_data_set_go_by_name_and_not_by_place(
    load: Load, for_robot: Path, scene: list[Observation]
) -> None:
    names = robot_names()
    backwards = names[::-1]
    config = PreTrainedConfig.from_pretrained(for_robot, cli_overrides=["--clock=steps", "--server=hold"])
    policy = KinemaPolicy.from_pretrained(
        for_robot, config=config, dataset_meta=Meta(states=backwards, actions=names)
    )
    degrees = np.array([50, 9, -90, -100, 110, -90, 5], np.float32)
    _, before, _ = load(for_robot, "ur5e")
    batch = before(batch_of(scene[0], {"front": "overview", "wrist": "hand"}, degrees))
    np.testing.assert_allclose(policy.select_action(batch)[0], degrees[::-1], atol=1e-4)
    with pytest.raises(KinemaError, match=r"'gripper' of ur5e.*has none of \['gripper.pos'\]"):
        KinemaPolicy.from_pretrained(for_robot, config=config, dataset_meta=Meta(names, names[:-1]))
    with pytest.raises(KinemaError, match="10 times a second, lerobot runs at 30"):
        KinemaPolicy.from_pretrained(for_robot, config=config, dataset_meta=Meta(names, names, fps=30))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation.state": torch.zeros(1, 6)}, r"shape \(1, 6\); panda was wired to \(B, 7\)"),
        ({"observation.images.wrist": None}, r"no observation.images.wrist; it has"),
        ({"observation.images.wrist": torch.full((1, 3, 96, 96), 2.0)}, "must lie within 0 and 1"),
        ({"observation.images.wrist": torch.zeros(1, 1, 96, 96)}, r"must be \(B, 3, height, width\)"),
        ({"task": [""]}, "a sentence is needed"),
        ({"observation.state": torch.full((1, 7), 40.0)}, "cannot start where it is measured"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_before_an_action(
    load: Load, for_env: Path, scene: list[Observation], change: dict[str, Any], message: str
) -> None:
    policy, before, _ = load(for_env, server="hold")
    changed = {k: v for k, v in {**batch_of(scene[0]), **change}.items() if v is not None}
    with pytest.raises(KinemaError, match=message):
        policy.select_action(before(changed))


def test_words_that_are_none(load: Load, for_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KinemaError, match="choices: real, steps"):
        load(for_env, clock="fast")
    with pytest.raises(KinemaError, match="unknown strategy 'calm'"):
        load(for_env, strategy="calm")
    with pytest.raises(KinemaError, match=r"sawyer\.json"):
        load(for_env, card="sawyer")
    with monkeypatch.context() as other:
        other.setattr(modeling_kinema, "version", lambda _: "5.5.4")
        with pytest.raises(KinemaError, match=r"transformers is 5\.5\.4, kinema needs ==.*--policy\.server"):
            load(for_env)
    monkeypatch.setitem(sys.modules, "kinema.model.policy.act", None)
    with pytest.raises(KinemaError, match=r"cannot run in this process.*--policy\.server"):
        load(for_env)
    with pytest.raises(KinemaError, match=r"--policy\.path names the folder"):
        KinemaPolicy(PreTrainedConfig.get_choice_class("kinema")(device="cpu"))
