"""SimplerEnv itself: skips where its environment (scripts/setup_simpler.sh) or its assets are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kinema.bench.simpler.benchmark import FOLDER, SimplerBenchmark, SimplerEnv
from kinema.bench.simpler.demos import demonstrate_simpler
from kinema.card.load import load_card

FOUND = Path(os.environ.get(FOLDER) or ".venv-simpler") / "bin" / "python"
ASSETS = os.environ.get("MS_ASSET_DIR")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOUND.is_file(), reason=f"no SimplerEnv at {FOUND}: scripts/setup_simpler.sh"),
    pytest.mark.skipif(not ASSETS, reason="MS_ASSET_DIR names no folder of ManiSkill's downloads"),
    pytest.mark.timeout(1800),
]
CARD = load_card("widowx_simpler")


@pytest.fixture(scope="module")
def benchmark() -> SimplerBenchmark:
    return SimplerBenchmark(assets=ASSETS)


@pytest.fixture(scope="module")
def env(benchmark: SimplerBenchmark) -> Iterator[SimplerEnv]:
    made = benchmark.make("stack_cube")
    yield made
    made.close()


def played(env: SimplerEnv, index: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    env.reset_to(index, 0)
    states = [env.state()]
    for _ in range(8):
        env.step(np.append(rng.uniform(-0.03, 0.03, 6), rng.uniform()))
        states.append(env.state())
    return np.stack(states)


def test_an_episode_is_its_configuration_whatever_was_played_before(
    benchmark: SimplerBenchmark, env: SimplerEnv
) -> None:
    fresh = benchmark.make("stack_cube")
    played(env, 1)
    again, first = played(env, 3), played(fresh, 3)
    np.testing.assert_array_equal(again, first)
    picture, other = (one.observe().images["3rd_view_camera"] for one in (env, fresh))
    fresh.close()
    np.testing.assert_array_equal(picture, other)
    assert picture.shape == (128, 128, 3)
    assert picture.std() > 10


def test_actions_do_what_the_card_says(env: SimplerEnv) -> None:
    env.reset_to(0, 0)
    low, high = np.array([channel.range for channel in CARD.states]).T
    assert env.max_steps == 60
    assert env.instruction == "stack the green block on the yellow block"
    assert env.state()[6] > 0.95, "it begins open"
    for channel, by in ((2, 0.04), (1, 0.04), (5, 0.2)):
        before = env.state()
        for share in (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0):
            env.step(np.append(share * by * np.eye(6)[channel], 1.0))
        moved = env.state() - before
        assert abs(moved[channel] - 2 * by) < 0.01
        assert np.abs(np.delete(moved, channel)).max() < 0.02
        assert (low <= env.state()).all()
        assert (env.state() <= high).all()
    for _ in range(5):
        env.step(np.zeros(7))
    assert env.state()[6] < 0.05, "0 closes"
    assert not env.success()


def test_the_expert_solves_it_and_to_hold_still_does_not(env: SimplerEnv) -> None:
    env.reset(1_500_000)
    for _ in range(env.max_steps):
        env.step(env.expert_action())
    assert env.success()
    assert env.measures() == {"grasped": 1.0, "success_at_any_step": 1.0}
    env.reset(1_500_000)
    for _ in range(5):
        env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert env.measures() == {"grasped": 0.0, "success_at_any_step": 0.0}


def test_demonstrations_point_at_what_is_taken_and_end_on_the_goal(env: SimplerEnv) -> None:
    demo = demonstrate_simpler(env, 1_000_000)
    assert demo.success
    assert len(demo.state) < env.max_steps
    assert demo.points.shape == (len(demo.state), 1, 2, 3)
    pictures = demo.images["3rd_view_camera"].astype(int)
    u, v = (demo.points[0, 0, 0, :2] * 128).astype(int)
    changed = np.abs(pictures[0] - pictures[-1]).max(-1) > 40
    assert changed[v - 1 : v + 2, u - 1 : u + 2].mean() > 0.8, "where it stood it is no more"
    thing, goal = demo.points[-1, 0, :, :2] * 128
    assert np.abs(thing - goal).max() < 10, "one above the other"
