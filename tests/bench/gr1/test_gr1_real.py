"""RoboCasa-GR1's package itself, with its robot, controllers, keys and pictures.

A bare table stands in for its downloads. Needs its environment: `scripts/setup_gr1.sh`, KINEMA_GR1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinema.bench.gr1 import benchmark
from kinema.bench.gr1.benchmark import CARD, GR1, Gr1Benchmark, Gr1Env
from kinema.bench.gr1.conventions import by_key, to_card, to_package
from kinema.bench.simulator import SimulatorProcess
from kinema.card.load import load_card
from kinema.schema import KinemaError
from refusals import one_line

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # a body of many meshes, drawn at 1280 x 800 without a graphics card
    pytest.mark.skipif(not os.environ.get(GR1.variable), reason=f"{GR1.variable} names no environment"),
]
TOY = Path(__file__).parent / "toy"
SEED = 1_000_003


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gr1Env]:
    monkeypatch.setenv("PYTHONPATH", str(TOY), prepend=os.pathsep)
    monkeypatch.setattr(benchmark, "GR1", replace(GR1, target="toy_gr1:ToySimulation"))
    made = Gr1Benchmark().make("TurnLeft")
    yield made
    made.close()


def test_an_episode_is_that_of_the_packages_own_environment(env: Gr1Env) -> None:
    """State, picture, sentence and success after the same steps, in a scene of the same seed."""
    env.reset(SEED)
    card, actions = load_card(CARD), []
    assert not env.success()
    for _ in range(6):
        action = env.observe(render=False).state.astype(np.float64)
        action[-3], action[7:13] = 0.5, 0.4
        actions.append(action)
        env.step(action)
    assert env.success()
    with pytest.raises(KinemaError, match="29 finite numbers"):
        env.step(np.zeros(7))
    seen = env.observe()

    steps = [by_key(card, to_package(card, action)) for action in actions]
    theirs = env._simulator.call("as_the_package_gives_it", seed=SEED, steps=steps)
    assert env.instruction == theirs["instruction"]
    assert theirs["success"]
    keys = ("left_arm", "right_arm", "left_hand", "right_hand", "waist")
    state = np.concatenate([theirs["seen"][f"state.{key}"] for key in keys])
    np.testing.assert_allclose(seen.state, to_card(card, state), atol=1e-6)
    picture = theirs["seen"]["video.ego_view_bg_crop_pad_res256_freq20"]
    assert picture.shape == (256, 256, 3)
    np.testing.assert_array_equal(seen.images["ego_view"], picture)


def test_another_body_is_refused_before_the_first_step(env: Gr1Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_STRETCHED", "0 0 -0.05")
    other = Gr1Benchmark().make("TurnLeft")
    with pytest.raises(
        KinemaError, match=r"RoboCasa-GR1's conventions are not those of its card: places_m is "
    ):
        other.reset(SEED)
    other.close()


def test_missing_assets_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["eval", "gr1", "--policy", "hold", "--episodes", "1", "--out", str(tmp_path / "out")]
    line = one_line(told, capsys)
    assert "RoboCasa-GR1's assets are missing: no " in line
    assert "download_tabletop_assets -y" in line


def test_the_package_has_the_24_tasks() -> None:
    simulator = SimulatorProcess(GR1.python(), GR1.target)
    assert set(benchmark.TASKS) <= set(simulator.call("tasks"))
    simulator.close()
