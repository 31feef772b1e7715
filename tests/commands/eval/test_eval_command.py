"""How an evaluation ends: with 1 and a line where an episode was an error, with 2 where it cannot begin."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from kinema import cli
from kinema.bench.benchmark import TaskSpec
from kinema.bench.episode import EpisodeRecord
from kinema.bench.results import Results, summarise
from kinema.bench.settings import RunSettings
from kinema.bench.world.imagined import Agreement
from kinema.commands import terminal
from kinema.commands.eval import evaluate, judged, rank
from kinema.commands.eval.judged import Sitting, finish


def results(*outcomes: str, warnings: tuple[str, ...] = ()) -> Results:
    specs = [
        TaskSpec(name="panda/push", card="panda", control_hz=10, groups={"body": "panda", "way": "plain"})
    ]
    records = [
        EpisodeRecord(task="panda/push", index=i, seed=i, result=o, cause=f"cause {i}", steps=3)
        for i, o in enumerate(outcomes)
    ]
    told = {"seed": 5, "seed_rule": "given"}
    return summarise("toy", specs, records, complete=True, provenance=told, warnings=warnings)


def test_errors_are_one_line_with_number_cause_and_folder_and_exit_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.exit_code(
        ["eval", "tabletop", "--policy", "badpol:Broken", "--robots", "panda", "--tasks", "panda/button",
         "--episodes", "2", "--out", str(tmp_path)]
    )  # fmt: skip
    said = capsys.readouterr()
    assert code == 1
    (line,) = [line for line in said.err.splitlines() if line.startswith("kinema: ")]
    for part in (
        "2 episodes were errors",
        "panda/button, episode 0: RuntimeError: the policy broke",
        "errors",
    ):
        assert part in line
    assert str(tmp_path / "errors") in line
    assert "0.0%" not in said.out, "nothing was scored, so there is no rate"
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["overall"]["published_rate"] is None
    assert (kept["mean_of_groups"], kept["mean_of_tasks"]) == (None, None)


def test_without_errors_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(tmp_path, results("success", "failure"))
    assert capsys.readouterr().err == ""
    finish(tmp_path, results("success", warnings=("two versions",)), results("failure"))
    assert capsys.readouterr().err == "note: two versions\n"


def test_the_printed_rate_counts_errors_as_failures_and_shows_the_other_beside() -> None:
    printed = evaluate.summary(results("success", "success", "error", "error"))
    (row,) = [line for line in printed.splitlines() if line.lstrip().startswith("all episodes")]
    assert row.split()[2] == "50.0%"
    assert row.split()[-2:] == ["2", "100.0%"]
    assert "of scored" not in evaluate.summary(results("success", "failure"))


def test_a_headline_counts_crashes_and_names_its_seed() -> None:
    told = judged.headline(results("success", "success", "success", "error"), "films follow")
    assert told.startswith("75.0% of 4 films follow (95 % interval")
    assert "1 crashed and count as not (100.0% of the others do)" in told
    assert told.endswith("seed 5: given")
    assert "crashed" not in judged.headline(results("success"), "films follow")


COMMANDS = {
    "tabletop": ["tabletop", "--robots", "panda"],
    "metaworld": ["metaworld"],
    "latency": ["latency", "--robots", "panda"],
    "planning": ["planning", "--imagines", "oracle"],
    "world": ["world", "--policy", "repeat"],
    "scene2robot": ["scene2robot", "--robots", "ur5e", "--policy", "shipped"],
}


@pytest.mark.parametrize("which", COMMANDS)
def test_every_benchmark_exits_with_1_when_an_episode_was_an_error(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told, asked = results("success", "error"), []

    def played(settings: RunSettings, out: Path, **_: Any) -> Results:
        asked.append(settings)
        (out / "episodes.jsonl").write_text("")
        return told

    monkeypatch.setattr("kinema.bench.run.run", played)
    monkeypatch.setattr("kinema.commands.eval.eval_world._described", lambda eyes: {})
    monkeypatch.setattr("kinema.bench.world.gallery.write_gallery", lambda *_: tmp_path / "world.html")
    arguments = ["eval", *COMMANDS[which], "--episodes", "2", "--out", str(tmp_path), "--retry-errors"]
    arguments += [] if "--policy" in arguments else ["--policy", "hold"]
    assert cli.exit_code(arguments) == 1
    assert "1 episode was an error" in capsys.readouterr().err
    assert asked[0].retry_errors
    assert asked[0].seed_rule.startswith("fresh"), "unless something else is asked, nobody chose the scenes"
    told = results("success", "failure")
    assert cli.exit_code(arguments) == 0


@pytest.mark.parametrize("errors", [0, 2])
def test_safety_exits_with_1_when_a_pair_was_an_error(
    errors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harm = {"any collision": {"harmed_without": 1, "harmed_with": 0}}
    found = {"episodes": 4, "errors": errors, "success_without": 0.5, "success_with": 0.25, **harm}
    told = {
        "chunks": {"rows": [], "promise": {}}, "latency": {}, "episodes": {"clean": found},
        "first_error": "panda/push/clean, episode 0: ValueError: broken",
    }  # fmt: skip
    monkeypatch.setattr("kinema.commands.eval.safety.evaluate_safety", lambda settings: told)
    code = cli.exit_code(["eval", "safety", "--policy", "hold", "--robots", "panda", "--out", str(tmp_path)])
    said = capsys.readouterr()
    assert code == (1 if errors else 0)
    assert f"4 episodes ({errors} errors), success 50.0% ungated, 25.0% with it" in said.out
    assert ("panda/push/clean, episode 0: ValueError: broken" in said.err) == bool(errors)


UNHEEDED = [
    ["eval", "world", "--baseline"],  # it has its own
    ["eval", "planning", "--baseline"],  # no expert is told sub-instructions
    ["eval", "scene2robot", "--baseline"],
    ["eval", "safety", "--baseline"],
    ["eval", "safety", "--tasks", "panda/button"],
    ["eval", "safety", "--workers", "2"],
    ["eval", "openloop", "--retry-errors"],
    ["eval", "metaworld", "--robots", "panda"],
    ["eval", "latency", "--variation", "seen"],
    ["eval", "world", "--imagines", "nobody"],
    ["eval", "tabletop", "--imagines", "oracle"],
    ["data", "make", "metaworld", "--robots", "panda"],
    ["data", "make", "tabletop", "--raw"],
]


@pytest.mark.parametrize("arguments", UNHEEDED, ids=" ".join)
def test_an_option_that_would_not_be_heeded_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.exit_code([*arguments, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    option = next(word for word in arguments if word.startswith("--"))
    assert f"{option} says nothing to" in said
    assert "it is for" in said


def test_a_crash_in_an_imagined_scene_is_told_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = Agreement(task="a", seed=1, policy=0.5, still=1.0)
    crashed = replace(sound, policy=1.0, cause="RuntimeError: out of order")
    rank._finish(tmp_path, {"mine": [sound]})
    with pytest.raises(typer.Exit) as ended:
        rank._finish(tmp_path, {"mine": [sound], "theirs": [sound, crashed]})
    assert ended.value.exit_code == 1
    assert "1 episode was an error" in (said := capsys.readouterr().err)
    assert "theirs in the imagined a, scene 1: RuntimeError: out of order" in said


def test_a_sitting_draws_its_seed_unless_told_otherwise() -> None:
    assert Sitting(out=Path("x"), episodes=1).seed == "fresh"


@pytest.mark.parametrize("fault", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("arguments", [["eval", "tabletop"], ["eval", "world", "--policy", "repeat"]])
def test_a_folder_that_takes_nothing_is_one_line_before_anything_is_played(
    fault: int, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refused(**_: Any) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(terminal, "TemporaryFile", refused)
    monkeypatch.setattr("kinema.bench.run.run", lambda *_, **__: pytest.fail("it began"))
    assert cli.exit_code([*arguments, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for part in (str(tmp_path / "out"), os.strerror(fault), "--out"):
        assert part in said


def test_a_file_in_the_place_of_the_folder_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("")
    arguments = ["eval", "tabletop", "--policy", "hold", "--out", str(tmp_path / "out" / "deeper")]
    assert cli.exit_code(arguments) == 2
    assert "nothing can be written into" in capsys.readouterr().err
