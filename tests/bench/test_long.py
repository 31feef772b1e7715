"""Long tasks by the runner: the expert does all steps, and a planner that fails is an error."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("MUJOCO_GL", "egl")

from kinema.bench.benchmark import Factory
from kinema.bench.episode import EpisodeJob
from kinema.bench.long.benchmark import WAYS, LongBenchmark, LongPlayer
from kinema.bench.run import RunSettings, run
from kinema.commands.long_tasks import check_factory, planner_factory
from kinema.schema import KinemaError
from kinema.worlds.tabletop.long.tasks import KINDS


def _player(seed: int = 3) -> dict[str, Any]:
    plans, checks = planner_factory("built-in", None), check_factory()
    return {"seed": seed, "planner": asdict(plans), "check": asdict(checks)}


def _play(policy: str, out: Path, *tasks: str) -> Any:
    settings = RunSettings(
        benchmark=Factory(target="kinema.bench.long.benchmark:LongBenchmark"),
        policy=Factory(target=policy),
        play=Factory(target="kinema.bench.long.benchmark:LongPlayer", arguments=_player()),
        episodes=1,
        tasks=tasks,
    )
    return run(settings, out, quiet=True)


def test_tasks_are_kinds_times_ways() -> None:
    specs = LongBenchmark().tasks()
    assert {spec.groups["way"] for spec in specs} == set(WAYS)
    assert len({spec.name for spec in specs}) == len(specs) == len(KINDS) * len(WAYS)


def test_the_expert_does_every_step(tmp_path: Path) -> None:
    results = _play("kinema.bench.expert:ExpertPolicy", tmp_path, "panda/sequence/true_check")
    assert results.overall["successes"] == 1
    measures = results.tasks["panda/sequence/true_check"]["measures"]
    assert measures["steps_done"] == measures["steps"] >= 4
    assert measures["claims_success"] == 1


def test_an_expert_is_not_told_a_whole_sentence() -> None:
    from kinema.bench.expert import ExpertPolicy

    benchmark, player = LongBenchmark(ways=("whole",)), LongPlayer(**_player())
    environment, spec = benchmark.make("panda/tidy/whole"), benchmark.tasks()[0]
    job = EpisodeJob(task="panda/tidy/whole", index=0, seed=1)
    with pytest.raises(KinemaError, match="reads no sentence"):
        player(environment, ExpertPolicy(), spec, job, 4)
    environment.close()


def test_a_failing_planner_is_an_error_and_no_failure(tmp_path: Path) -> None:
    arguments = _player() | {
        "planner": asdict(planner_factory("http://127.0.0.1:9/v1", "none")),
    }
    arguments["planner"]["arguments"] |= {"timeout_s": 1.0, "tries": 1}
    settings = RunSettings(
        benchmark=Factory(target="kinema.bench.long.benchmark:LongBenchmark"),
        policy=Factory(target="kinema.runtime.policy:HoldPolicy"),
        play=Factory(target="kinema.bench.long.benchmark:LongPlayer", arguments=arguments),
        episodes=1,
        tasks=("panda/tidy/open_loop",),
    )
    results = run(settings, tmp_path, quiet=True)
    assert (results.overall["errors"], results.overall["failures"]) == (1, 0)
    assert "http://127.0.0.1:9/v1" in (tmp_path / "episodes.jsonl").read_text()
