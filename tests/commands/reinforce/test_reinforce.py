"""`kinema reinforce`, from the command line to a changed artifact, on the tabletop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kinema.bench.episode import EVALUATION_SEEDS_BELOW
from kinema.cli import exit_code
from kinema.commands.reinforce.trying import Scene
from kinema.train.reinforce.rollout import SUFFIX, Rollout

SHORT = ["--episodes", "1", "--most-steps", "8", "--updates", "2", "--tasks", "panda/push"]


def test_it_plays_learns_and_leaves_an_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    told = ["reinforce", "nano", "--benchmark", "tabletop", "--robots", "panda", "--out", str(out), *SHORT]
    assert exit_code([*told, "--rounds", "1", "--judge-every", "1", "--judge-episodes", "1"]) == 0
    said = capsys.readouterr().out
    assert "kinema eval tabletop --policy" in said
    (path,) = (out / "round_000" / "episodes").glob(f"*{SUFFIX}")
    rollout = Rollout.load(path)
    assert rollout.task == "panda/push"
    assert rollout.decisions.played.any(-1).sum() <= 8
    (line,) = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    assert line["episodes"] == 1
    records = [
        json.loads(line)
        for folder in ("episodes", "judged")
        for line in (out / "round_000" / folder / "episodes.jsonl").read_text().splitlines()
    ]
    seeds = [record["seed"] for record in records if "seed" in record]
    assert len(set(seeds)) == len(seeds) == 2, "judged on what was played"
    assert min(seeds) >= EVALUATION_SEEDS_BELOW, "an evaluation's scene was played"
    page = (out / "report.html").read_text()
    assert "success while trying" in page
    assert "success on the kept scenes" in page
    provenance = json.loads((out / "artifact" / "provenance.json").read_text())
    assert provenance["reinforced"]["about"]["tasks"] == ["panda/push"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["nano", "--benchmark", "chess"], "chess"),
        (["nano", "--benchmark", "metaworld"], "none of sawyer_metaworld"),
        (["nano", "--benchmark", "tabletop", "--rule", "grpo"], "rule 'grpo' is unknown"),
        (["nano", "--benchmark", "tabletop", "--rule", "flow_sde", "--recipe", "nano_tabletop"], "--recipe"),
        (["nano", "--benchmark", "tabletop", "--recipe", "nanoo"], "unknown recipe 'nanoo'"),
        (["nano", "--benchmark", "tabletop", "--tasks", "panda/pussh"], "unknown task 'panda/pussh'"),
        (["nowhere", "--benchmark", "tabletop"], "nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    told: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert exit_code(["reinforce", *told, "--out", str(out)]) == 2
    assert said in capsys.readouterr().err
    assert not (out / "run.json").exists()


def test_a_scene_is_drawn_where_the_benchmark_fixes_starts_and_ends_sooner_where_told() -> None:
    class Fixed:
        max_steps, instruction, seeds = 50, "go", []

        def reset(self, seed: int) -> None:
            self.seeds.append(seed)

        def reset_to(self, index: int, seed: int) -> None:
            raise AssertionError("an evaluation's start state")

    from kinema.bench.benchmark import NumberedStarts

    fixed = Fixed()
    scene = Scene(fixed, most_steps=20)  # type: ignore[arg-type]
    assert not scene.over()
    assert not isinstance(scene, NumberedStarts)
    scene.reset(3)
    assert fixed.seeds == [3]
    assert scene.max_steps == 20
    fixed.over = lambda: True  # type: ignore[attr-defined]
    assert scene.over(), "an episode that is over goes on"
    assert Scene(fixed, most_steps=80).max_steps == 50  # type: ignore[arg-type]
