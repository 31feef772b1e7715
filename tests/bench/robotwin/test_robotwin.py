"""RoboTwin's adapter, played on a toy of the package in a process of its own."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from kinema.bench.robotwin.benchmark import ROBOTWIN, RobotwinBenchmark
from kinema.bench.robotwin.simulation import ASSETS
from kinema.card.load import load_card
from kinema.schema import KinemaError
from refusals import one_line

TOY = Path(__file__).parent / "toy"
HELD, CLOSED = np.full(14, 0.5), np.zeros(14)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that holds the toy under the package's name; its assets are in `assets_root`."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    for name in ("rlinf_robotwin_runtime", "sapien", "mplib", "torch"):
        about = tmp_path / "packages" / f"{name}-0.0.dist-info" / "METADATA"
        about.parent.mkdir(parents=True)
        about.write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 0.0\n")
    body = tmp_path / "assets_root" / "assets" / "embodiments" / "aloha-agilex" / "config.yml"
    body.parent.mkdir(parents=True)
    body.write_text("urdf_path: x\n")
    monkeypatch.setenv(ROBOTWIN.variable, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{TOY}{os.pathsep}{tmp_path / 'packages'}", prepend=os.pathsep)
    monkeypatch.setenv(ASSETS, str(tmp_path / "assets_root"))
    return tmp_path


def test_episodes_are_the_seeds_that_the_expert_solves(environment: Path) -> None:
    benchmark = RobotwinBenchmark()
    assert [task.name for task in benchmark.tasks()] == [
        "clean/touch", "clean/never_stands", "randomized/touch", "randomized/never_stands",
    ]  # fmt: skip
    told = {}
    for order in ((0, 1, 2), (2, 0, 1)):
        env = benchmark.make("clean/touch")
        assert env.max_steps == 6
        for index in order:
            env.reset_to(index, seed=index + 7)
            told.setdefault(index, []).append((env.measures()["scene_seed"], env.instruction))
        env.close()
    assert all(first == again for first, again in told.values())
    # Of 100000, 100001 and so on the odd ones are not solved, and those that 3 divides fall over.
    assert [seen[0][0] for _, seen in sorted(told.items())] == [100000, 100004, 100006]
    assert told[0][0][1] in ("touch thing 100000 so", "touch thing 100000 thus"), "an unseen sentence"


def test_an_episode_is_seen_acted_and_judged(environment: Path) -> None:
    env = RobotwinBenchmark(("randomized",)).make("randomized/touch")
    env.reset_to(0, 0)
    card = load_card("aloha_agilex")
    seen = env.observe()
    assert {name: picture.shape for name, picture in seen.images.items()} == dict.fromkeys(
        card.camera_names, (240, 320, 3)
    )
    env.step(HELD)
    assert not env.success()
    np.testing.assert_array_equal(env.observe(render=False).state, HELD.astype(np.float32))
    env.step(CLOSED)
    assert env.success()
    grippers = [(c, value) for c, value in zip(card.actions, CLOSED) if c.slot.endswith(".gripper")]
    assert {float(channel.opening(value)) for channel, value in grippers} == {0.0}
    with pytest.raises(KinemaError, match="14 finite numbers"):
        env.step(np.zeros(7))
    env.reset_to(1, 0)
    assert not env.success()
    env.close()


def test_another_body_is_refused_before_the_first_step(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STRETCHED_M", "0.01")
    env = RobotwinBenchmark().make("clean/touch")
    with pytest.raises(KinemaError, match=r"RoboTwin's conventions are not those of its card: places_m is "):
        env.reset_to(0, 0)
    env.close()


def test_a_task_that_never_stands_is_told_with_its_reason(environment: Path) -> None:
    env = RobotwinBenchmark().make("clean/never_stands")
    with pytest.raises(KinemaError, match=r"any seed from 100000 to 100019; the last: RuntimeError: no rend"):
        env.reset_to(0, 0)
    env.close()


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("environment", "RoboTwin's own environment is missing"),
        ("package", "sapien is not installed in RoboTwin's environment"),
        ("assets", "get them with robotwin-download-assets --output FOLDER"),
        ("part of the assets", "RoboTwin asset snapshot is incomplete"),
    ],
)
def test_what_is_missing_is_one_line(
    missing: str,
    says: str,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if missing == "environment":
        monkeypatch.setenv(ROBOTWIN.variable, str(environment / "nothing"))
    elif missing == "package":
        (environment / "packages" / "sapien-0.0.dist-info" / "METADATA").unlink()
        (environment / "packages" / "sapien-0.0.dist-info").rmdir()
    elif missing == "assets":
        monkeypatch.delenv(ASSETS)
    else:
        monkeypatch.setenv(ASSETS, str(environment / "bin"))
    told = ["eval", "robotwin", "--policy", "hold", "--episodes", "1", "--out", str(environment / "out")]
    assert says in one_line(told, capsys)
