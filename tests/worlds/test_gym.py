"""Our worlds as gymnasium knows them: its own checker, its own vector environments, our world inside."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from kinema.card.load import CardError, load_card
from kinema.schema import KinemaError
from kinema.worlds import gym
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.experts.expert import Expert

IDS = [name for name, _, _ in gym.ids()]
ONE_OF_EACH_TASK = list({task: name for name, _, task in gym.ids()}.values())


def test_every_world_of_every_body_has_an_id() -> None:
    assert {"kinema/PickPlace-panda-v0", "kinema/TurnLeft-car-v0"} <= set(IDS)
    assert len(set(IDS)) == len(IDS) > 60
    assert set(IDS) <= set(gymnasium.registry)


@pytest.mark.parametrize("name", ONE_OF_EACH_TASK)
def test_gymnasiums_own_checker_finds_nothing(name: str) -> None:
    env = gymnasium.make(name, image_size=16, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings(
            "ignore", message=".*(infinity|not within \\[-1, 1\\]|symmetric and normalized).*"
        )
        check_env(env.unwrapped)
    env.close()


def test_it_is_our_world_seen_and_moved_through_gymnasium() -> None:
    env = gymnasium.make("kinema/Button-panda-v0", image_size=32)
    ours = TabletopEnv(card=load_card("panda"), family="button", image_size=32)
    expert = Expert(ours)
    seen, _ = env.reset(seed=5)
    ours.reset(5)
    done = late = False
    while not (done or late):
        wanted = ours.observe()
        np.testing.assert_array_equal(seen["state"], wanted.state)
        assert seen["instruction"] == wanted.instruction
        for name, picture in wanted.images.items():
            np.testing.assert_array_equal(seen["pictures"][name], picture)
        assert seen in env.observation_space
        action = np.asarray(expert.act(), np.float32)
        ours.step(action.astype(np.float64))
        seen, reward, done, late, info = env.step(action)
        assert reward == float(done) == float(info["success"]) == float(ours.success())
    assert (done, late) == (True, False)
    env.close()
    ours.close()


def test_many_at_once_are_each_alone() -> None:
    make = {"image_size": 16}
    many = gymnasium.make_vec("kinema/Push-ur5e-v0", num_envs=2, vectorization_mode="sync", **make)
    seen, _ = many.reset(seed=[3, 4])
    action = np.stack([many.single_action_space.low, many.single_action_space.high]) / 2
    after = many.step(action)[0]
    many.close()
    for row, seed in enumerate((3, 4)):
        one = gymnasium.make("kinema/Push-ur5e-v0", **make)
        alone, _ = one.reset(seed=seed)
        np.testing.assert_array_equal(seen["pictures"]["front"][row], alone["pictures"]["front"])
        assert seen["instruction"][row] == alone["instruction"]
        np.testing.assert_array_equal(after["state"][row], one.step(action[row])[0]["state"])
        one.close()


def test_time_that_is_up_is_not_a_failure_of_the_world() -> None:
    env = gymnasium.make("kinema/Button-panda-v0", image_size=16)
    env.reset(seed=1)
    hold = env.unwrapped._world.state()[: env.action_space.shape[0]]
    ends = [env.step(hold)[2:4] for _ in range(env.unwrapped._world.max_steps)]
    assert ends[-1] == (False, True)
    assert set(ends[:-1]) == {(False, False)}
    env.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"task": "juggle"}, "no family 'juggle'; choices"),
        ({"body": "nobody"}, "nobody"),
        ({"variation": "sideways"}, "sideways"),
        ({"image_size": 4}, "image_size 4"),
        ({"render_mode": "human"}, "rgb_array"),
    ],
)
def test_what_there_is_not_is_named(change: dict[str, object], told: str) -> None:
    with pytest.raises((KinemaError, CardError), match=told):
        gym.WorldEnv(**{"body": "panda", "task": "push", **change})


def test_an_action_that_is_none_is_refused() -> None:
    env = gym.WorldEnv(body="panda", task="push", image_size=16)
    env.reset(seed=1)
    for wrong in (np.zeros(3), np.full(env.action_space.shape, np.nan)):
        with pytest.raises(KinemaError):
            env.step(wrong)
    env.close()
