import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.schema import KinemaError
from kinema.worlds import Expert, TabletopEnv
from kinema.worlds.tabletop.bench import measure_steps_per_s
from kinema.worlds.tabletop.demonstrate import (
    NO_NOISE,
    Disturbance,
    Noise,
    Tally,
    demonstrate,
    demonstrations,
)


@pytest.mark.parametrize("robot", ["panda", "aloha"])
def test_shapes_follow_the_card(robot: str) -> None:
    card = load_card(robot)
    env = TabletopEnv(card=card, family="button", image_size=32)
    demo = demonstrate(env, Expert(env), seed=0, noise=Noise())
    env.close()
    steps = len(demo.action)
    assert demo.success
    assert demo.action.shape == demo.executed.shape == (steps, len(card.actions))
    assert demo.state.shape == (steps, len(card.states))
    assert demo.points.shape == (steps, len(card.cameras), 2, 3)
    for image in demo.images.values():
        assert image.shape == (steps, 32, 32, 3)
    assert demo.action.dtype == demo.state.dtype == np.float32


def test_without_noise_the_label_is_what_was_executed() -> None:
    env = TabletopEnv(card=load_card("ur5e"), family="drawer")
    demo = demonstrate(env, Expert(env), seed=1, noise=NO_NOISE, render=False)
    np.testing.assert_array_equal(demo.action, demo.executed)
    assert demo.images == {}


def test_noise_comes_in_stretches_and_leaves_the_labels_clean() -> None:
    env = TabletopEnv(card=load_card("panda"), family="stack")
    expert = Expert(env)
    demo = demonstrate(env, expert, seed=7, noise=Noise(share=0.6), render=False)
    noisy = np.any(demo.action != demo.executed, axis=1)
    assert 0.1 < noisy.mean() < 0.95
    switches = np.count_nonzero(np.diff(noisy.astype(int)))
    assert switches < 0.6 * len(noisy)
    # Clean labels: the expert keeps the tool straight down whatever was executed.
    np.testing.assert_array_equal(demo.action[:, 3:6], 0.0)
    assert np.abs(demo.executed[:, 3:6]).max() > 0.0


def test_disturbance_is_repeatable_and_of_the_stated_size() -> None:
    card = load_card("panda")
    noise = Noise(share=0.5, gripper_flip=0.0)

    def draw() -> np.ndarray:
        disturbance = Disturbance(card, noise, np.random.default_rng(0))
        return np.stack([disturbance.apply(np.zeros(7)) for _ in range(4000)])

    values = draw()
    np.testing.assert_array_equal(values, draw())
    active = np.any(values != 0, axis=1)
    assert 0.35 < active.mean() < 0.65
    np.testing.assert_allclose(values[active, :3].std(), 0.015, rtol=0.1)
    np.testing.assert_array_equal(values[:, 6], 0.0)


def test_failures_are_left_out_and_counted() -> None:
    env = TabletopEnv(card=load_card("panda"), family="button", image_size=16)
    tally = Tally()
    demos = list(demonstrations(env, 3, noise=Noise(scale=2.0), tally=tally))
    env.close()
    assert all(demo.success for demo in demos)
    assert tally.successes == 3
    assert tally.episodes >= 3
    assert len({demo.seed for demo in demos}) == 3


def test_noise_out_of_range_is_refused() -> None:
    with pytest.raises(KinemaError, match="share"):
        Noise(share=1.5)


def test_speed_is_measured() -> None:
    assert measure_steps_per_s(load_card("panda"), 0.5, image_size=64) > 20  # a busy machine still does that
