"""Our houses through the runner: the expert arrives, doing nothing does not, and the measures are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.bench.benchmark import Factory
from kinema.bench.navigation.benchmark import NavigationBenchmark, bases
from kinema.bench.navigation.episodes import read_episodes, write_episodes
from kinema.bench.navigation.own_episodes import SPLIT, write_split
from kinema.bench.run import run
from kinema.bench.settings import RunSettings
from kinema.schema import KinemaError, Result
from kinema.worlds.house.env import HouseEnv
from kinema.worlds.house.errands import ERRANDS
from kinema.worlds.house.generate import generate
from kinema.worlds.house.procthor import to_procthor

DEVELOPMENT_SEED = 1_000_010


def test_every_errand_is_a_task_of_every_base() -> None:
    names = [task.name for task in NavigationBenchmark(bodies=bases()).tasks()]
    assert names == [f"{errand}/{body}" for errand in ERRANDS for body in bases()]
    assert set(bases()) == {"wheeled_base", "quadruped", "humanoid"}


@pytest.mark.parametrize(("policy", "solved"), [("kinema.bench.expert:ExpertPolicy", True),
                                                ("kinema.runtime.policy:HoldPolicy", False)])  # fmt: skip
def test_the_runner_keeps_what_was_measured(tmp_path: Path, policy: str, solved: bool) -> None:
    arguments = {"bodies": ["quadruped"], "errands": ["instruction"], "image_size": 16}
    target = "kinema.bench.navigation.benchmark:NavigationBenchmark"
    settings = RunSettings(
        benchmark=Factory(target=target, arguments=arguments),
        policy=Factory(target=policy), episodes=1, replan_steps=2,
    )  # fmt: skip
    results = run(settings, tmp_path, quiet=True)
    (record,) = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()[1:]
                 if '"measures"' in line]  # fmt: skip
    assert record["result"] == (Result.SUCCESS if solved else Result.FAILURE)
    measures = results.groups["instruction"]["measures"]
    assert measures["sr"] == results.overall["published_rate"] == float(solved)
    assert (measures["spl"] > 0.9) == (measures["ndtw"] == 1) == (measures["osr"] == 1) == solved
    assert measures["ne_m"] == pytest.approx(record["measures"]["ne_m"], abs=1e-6)
    if not solved:  # a second of standing still, and the episode is over
        assert record["steps"] == 2
        assert measures["path_length_m"] == 0


@pytest.mark.parametrize("errand", ERRANDS)
def test_a_success_of_the_world_is_one_of_the_metrics(errand: str) -> None:
    environment = NavigationBenchmark(bodies=["quadruped"], errands=[errand]).make(f"{errand}/quadruped")
    environment.reset(DEVELOPMENT_SEED)
    assert not environment.success()
    while not environment.success() and environment.steps < environment.max_steps:  # type: ignore[attr-defined]
        environment.step(environment.expert_action())  # type: ignore[attr-defined]
    assert environment.success()
    measures = environment.measures()
    assert measures.get("kept_up", 1.0) > 0.5
    if errand != "follow":
        assert (measures["sr"], measures["osr"], measures["ndtw"]) == (1, 1, 1)
        assert 0.8 < measures["spl"] <= 1


def test_a_file_of_episodes_is_played_in_its_order_and_judged_by_its_truth(tmp_path: Path) -> None:
    env, seeds = HouseEnv(image_size=16), range(DEVELOPMENT_SEED, DEVELOPMENT_SEED + 2)
    assert write_split(tmp_path, env, seeds) == 2
    benchmark = NavigationBenchmark(bodies=["humanoid"], episodes=str(tmp_path / SPLIT))
    (task,) = benchmark.tasks()
    listed = benchmark.make(task.name)
    for index, seed in enumerate(seeds):
        env.reset(seed)
        listed.reset_to(index, 0)  # type: ignore[attr-defined]
        assert listed.instruction == env.instruction
        np.testing.assert_allclose(listed.pose, env.pose, atol=1e-9)  # type: ignore[attr-defined]
        while not listed.success():
            listed.step(listed.expert_action())  # type: ignore[attr-defined]
        measures = listed.measures()
        assert (measures["sr"], round(measures["ndtw"], 6)) == (1, 1)
    with pytest.raises(KinemaError, match="has 2 episodes; got number 2"):
        listed.reset_to(2, 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scene_id": "mp3d/X/X.glb"}, "scene 'mp3d/X/X.glb' is no house in ProcTHOR's JSON"),
        ({"scene_id": "../house.json"}, "lies outside"),
        ({"scene_id": "none.json"}, "is no house in JSON"),
        ({"goal": None}, "keeps its goal secret"),
        ({"goal": np.array([99.0, 0, -99])}, "no way leads from its start to its goal"),
    ],
)
def test_an_episode_that_cannot_be_played_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write_split(tmp_path, HouseEnv(), [DEVELOPMENT_SEED])
    (episode,) = read_episodes(tmp_path / SPLIT)
    write_episodes(tmp_path / SPLIT, [replace(episode, **change)])
    listed = NavigationBenchmark(bodies=["humanoid"], episodes=str(tmp_path / SPLIT)).make(
        "instruction/humanoid"
    )
    with pytest.raises(KinemaError, match=message):
        listed.reset_to(0, 0)  # type: ignore[attr-defined]


def test_houses_of_a_folder_are_played_in(tmp_path: Path) -> None:
    for seed in (1_000_000, 1_000_001):
        (tmp_path / f"{seed}.json").write_text(json.dumps(to_procthor(generate(seed))))
    benchmark = NavigationBenchmark(bodies=["humanoid"], errands=["search"], houses=str(tmp_path))
    assert list(benchmark.provenance()["houses"]) == ["1000000.json", "1000001.json"]
    environment = benchmark.make("search/humanoid")
    environment.reset(3)
    ours: HouseEnv = environment._environment  # type: ignore[attr-defined]
    np.testing.assert_allclose(ours.house.extent.size, generate(1_000_001).extent.size)
    with pytest.raises(KinemaError, match="has no houses"):
        NavigationBenchmark(houses=str(tmp_path / "none"))
