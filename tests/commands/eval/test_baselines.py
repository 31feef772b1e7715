"""`kinema eval … --baseline`: three policies in the same scenes, a file each, one table and one verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from kinema import cli
from kinema.bench.benchmark import Factory, TaskSpec
from kinema.bench.episode import EpisodeRecord
from kinema.bench.results import Results, summarise
from kinema.bench.settings import RunSettings
from kinema.commands.eval import baselines
from kinema.commands.eval.judged import Sitting

SOLVES = {"random": 0, "hold": 0, "expert": 10}  # of 10 episodes a task
POLICIES = {"RandomPolicy": "random", "HoldPolicy": "hold", "ExpertPolicy": "expert"}
TOLD = {"seed": 5, "seed_rule": "given"}


class Halves:
    """Two tasks, of which the second has no expert."""

    name = "halves"

    def tasks(self) -> tuple[TaskSpec, ...]:
        return tuple(
            TaskSpec(name=name, card="panda", control_hz=10, groups={"half": name}, expert=name == "first")
            for name in ("first", "second")
        )


def who(settings: RunSettings) -> str:
    return POLICIES.get(settings.policy.target.rpartition(":")[2], "other")


class Runs:
    """Stands for the runner: keeps what it was asked and says what each policy solves."""

    def __init__(self, solves: dict[str, int]) -> None:
        self.solves = solves
        self.asked: dict[str, tuple[RunSettings, Path]] = {}

    def __call__(self, settings: RunSettings, out: Path, **_: Any) -> Results:
        self.asked[who(settings)] = settings, out
        out.mkdir(parents=True, exist_ok=True)
        (out / "episodes.jsonl").write_text("")
        benchmark = settings.benchmark.build()
        specs = [spec for spec in benchmark.tasks() if not settings.tasks or spec.name in settings.tasks]
        solved = self.solves.get(who(settings), 5)
        records = [
            EpisodeRecord(
                task=spec.name, index=i, seed=i, result="success" if i < solved else "failure", cause="",
                steps=1,
            )
            for spec in specs
            for i in range(10)
        ]  # fmt: skip
        found = summarise(benchmark.name, specs, records, complete=True, provenance=TOLD)
        found.save(out / "results.json")
        return found


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    stand_in = Runs(dict(SOLVES))
    monkeypatch.setattr("kinema.bench.run.run", stand_in)
    return stand_in


def arguments(out: Path, *more: str) -> list[str]:
    one = ["--robots", "panda", "--tasks", "panda/button"]
    return ["eval", "tabletop", *one, "--baseline", "--out", str(out), *more]


def test_three_policies_play_the_same_scenes_and_leave_a_file_each(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.exit_code(arguments(tmp_path)) == 0
    assert list(runs.asked) == ["random", "hold", "expert"], "no other policy plays"
    (first, _), *others = runs.asked.values()
    for settings, _ in others:
        same = replace(settings, policy=first.policy, tasks=first.tasks)
        assert same == first, "the same scenes, the same rules"
    said = capsys.readouterr().out
    for name, (_, out) in runs.asked.items():
        assert str(out / "results.json") in said
        kept = json.loads((out / "results.json").read_text())
        assert kept["overall"]["successes"] == SOLVES[name]
    (row,) = [line for line in said.splitlines() if line.lstrip().startswith("all episodes")]
    assert [row.count(rate) for rate in (" 0.0% of 10", " 100.0% of 10")] == [2, 1]


@pytest.mark.parametrize(("name", "solves", "told"), [
    ("expert", 8, "the expert solves 8 of 10 of panda/button (80%)"),
    ("hold", 1, "doing nothing solves 1 of 10 of panda/button (10%)"),
])  # fmt: skip
@pytest.mark.parametrize("beside", [[], ["--policy", "nano"]], ids=["alone", "beside a policy"])
def test_a_broken_benchmark_is_one_line_with_task_and_number_and_exits_with_1(
    name: str, solves: int, told: str, beside: list[str], runs: Runs, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    runs.solves[name] = solves
    assert cli.exit_code(arguments(tmp_path, *beside)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kinema: tabletop is broken: ")
    assert told in line


def test_random_motion_that_solves_is_shown_and_not_a_fault(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.solves["random"] = 4
    assert cli.exit_code(arguments(tmp_path)) == 0
    assert "40.0% of 10" in capsys.readouterr().out


def test_beside_a_policy_they_stand_in_its_results_and_report(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.exit_code(arguments(tmp_path, "--policy", "nano")) == 0
    assert list(runs.asked) == ["other", "random", "hold", "expert"]
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["overall"]["successes"] == 5
    found = {name: told["overall"]["successes"] for name, told in kept["baselines"].items()}
    assert found == SOLVES
    assert "expert" in (tmp_path / "report.html").read_text()
    assert "expert (baseline)" in capsys.readouterr().out


HALVES = RunSettings(benchmark=Factory(target=f"{__name__}:Halves"), policy=Factory(target="none:none"))


def test_a_missing_expert_is_said_and_the_others_play(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sitting = Sitting(out=tmp_path, episodes=10, baseline=True)
    baselines.judge_baselines(HALVES, sitting)
    assert runs.asked["expert"][0].tasks == ("first",)
    assert runs.asked["hold"][0].tasks == ()
    assert "note: halves has no expert for 1 of 2 tasks" in capsys.readouterr().err
    runs.asked.clear()
    baselines.judge_baselines(replace(HALVES, tasks=("second",)), sitting)
    assert list(runs.asked) == ["random", "hold"]
    assert "note: halves has no expert\n" in capsys.readouterr().err


def test_errors_of_a_baseline_end_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = EpisodeRecord(task="first", index=0, seed=0, result="error", cause="it broke", steps=0)
    crashed = summarise("halves", Halves().tasks()[:1], [record], complete=True, provenance=TOLD)
    with pytest.raises(typer.Exit) as ended:
        baselines.conclude(tmp_path, {}, crashed)
    assert ended.value.exit_code == 1
    assert "1 episode was an error" in capsys.readouterr().err
