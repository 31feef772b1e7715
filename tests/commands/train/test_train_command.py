"""`kinema train`: options change a copy of the recipe, a run is never overwritten, Ctrl-C keeps all."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema import cli, recipes
from kinema.bench.benchmark import Factory
from kinema.commands.train.train import _closed_loop, scalars
from kinema.train.stop import STOPPING


def test_every_recipe_is_listed_with_what_it_does_and_the_data_it_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.exit_code(["train", "--list"]) == 0
    listed = capsys.readouterr().out
    for name in recipes.RECIPES:
        recipe = recipes.get(name)
        assert recipe.name == name
        assert {recipe.name, recipe.summary, recipe.data_command} <= set(
            cell.strip() for line in listed.splitlines() for cell in line.split("  ")
        )


def one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.exit_code(["train", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("kinema: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["debgu"], "'debug'"),
        (["debug", "--steps", "3", "--minutes", "1"], "give one of them"),
        (["debug", "--steps", "0"], "--steps"),
        ([""], "unknown recipe ''"),
        (["nano_gate", "--lr-scale", "2", "--seed", "1", "--data", "nowhere"], "kinema data make hazards"),
        (["debug", "--precision", "fp16"], "--precision must be one of auto, fp32, bf16; got 'fp16'"),
        (["debug", "--device", "gpu"], "unknown device 'gpu'; here: cpu"),
        (["debug", "--device", "mps"], "device 'mps' is not here"),
        (["debug", "--device", "cuda", "--processes", "2"], "--processes 2 share a CPU"),
        (["nano_scene2robot", "--init", "there"], "there"),
        (["nano_scene2robot"], "no video code in runs/nano_scene2robot_vae; train it first"),
        (["nano_detector"], "kinema data make looks"),
        (["debug", "--processes", "3"], "a batch of 16 cannot be shared by 3 processes"),
        (["debug", "--batch-size", "5", "--processes", "2"], "a batch of 5 cannot be shared by 2"),
        (["nano_tabletop", "--data", "nowhere"], "kinema data make tabletop --out nowhere"),
        (["debug", "--resume"], "no checkpoint"),
        (["debug", "--gpus", "8"], "add --plan"),
        (["debug", "--plan", "--gpu-memory", "0.01"], "does not fit"),
        (["debug", "--freeze", "bakbone.*"], "no parameter matches 'bakbone.*'; near: backbone.*"),
        (["debug", "--lr", "decoder"], "--lr 'decoder' must be a pattern and a number"),
        (["debug", "--pictures", "memory"], "reads no pictures of data sets"),
        (["debug", "--tracker", "visdom"], "unknown tracker 'visdom'"),
        (["debug", "--init", "nowhere"], "no artifact folder"),
        (["debug", "--out", __file__], "choose another folder with --out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in one_line(arguments, capsys)


def test_a_run_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint").mkdir()
    assert "--resume" in one_line(["debug", "--out", str(tmp_path)], capsys)


@pytest.mark.parametrize("number", STOPPING)
def test_the_process_has_its_own_handlers_back(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {each: signal.getsignal(each) for each in STOPPING}
    monkeypatch.setattr("kinema.train.run.run", lambda *_, **__: signal.raise_signal(number))
    assert cli.exit_code(["train", "debug", "--out", str(tmp_path)]) == 130
    assert {each: signal.getsignal(each) for each in STOPPING} == before


def test_ctrl_c_says_where_the_checkpoint_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import kinema.train.run

    def stopped(*_: object, **__: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(kinema.train.run, "run", stopped)
    assert cli.exit_code(["train", "debug", "--out", str(tmp_path / "x")]) == 130
    said = capsys.readouterr().err
    assert str(tmp_path / "x") in said
    assert "--resume" in said


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_device_and_precision_reach_every_kind_of_recipe(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for option in (["--device", "nowhere"], ["--precision", "half"]):
        assert option[1] in one_line([recipe, *option], capsys)


def _group(successes: int, failures: int, errors: int) -> dict[str, Any]:
    judged = successes + failures
    return {
        "successes": successes, "failures": failures, "errors": errors, "episodes": judged + errors,
        "success_rate": successes / judged if judged else None,
    }  # fmt: skip


@given(st.tuples(*[st.integers(0, 5)] * 3))
def test_an_error_is_never_logged_as_a_failure_nor_hidden(counts: tuple[int, int, int]) -> None:
    successes, failures, errors = counts
    logged = scalars({"panda": _group(*counts)})
    assert logged["errors/panda"] == errors
    assert ("success/panda" in logged) == (successes + failures > 0)
    if successes + failures:
        assert logged["success/panda"] == successes / (successes + failures)
    assert ("success_with_errors/panda" in logged) == (errors > 0)
    if errors:
        assert logged["success_with_errors/panda"] == successes / sum(counts)


def test_errors_of_an_evaluation_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import kinema.bench.run
    import kinema.commands.policies

    found = SimpleNamespace(tasks={"a": _group(0, 0, 3), "b": _group(1, 0, 1)}, groups={"x": _group(0, 0, 3)})
    monkeypatch.setattr(kinema.bench.run, "run", lambda *_, **__: found)
    monkeypatch.setattr(kinema.commands.policies, "bodies_of", lambda _: ["panda"])
    monkeypatch.setattr(kinema.commands.policies, "policy_factory", lambda _: Factory(target="a:b"))
    assert _closed_loop(tmp_path)(tmp_path) == {"errors/x": 3, "success_with_errors/x": 0.0}
    assert "4 of 5 episodes" in capsys.readouterr().err


@pytest.mark.slow
def test_two_halves_make_an_artifact_that_acts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert cli.exit_code(["train", "debug", "--out", str(out), "--steps", "4"]) == 0
    assert cli.exit_code(["train", "debug", "--out", str(out), "--steps", "8", "--resume"]) == 0
    assert cli.exit_code(["bench", "policy", "--policy", str(out / "artifact"), "--rounds", "2"]) == 0
    assert "median ms" in capsys.readouterr().out
