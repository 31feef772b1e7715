"""`kinema train`: options change a copy of the recipe, a run is never overwritten, Ctrl-C keeps all."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema import cli, recipes
from kinema.commands.budget import Options
from kinema.commands.train import _config


def test_options_replace_what_they_name_and_nothing_else() -> None:
    recipe = recipes.get("debug")
    assert _config(recipe, Options(), seed=None) == recipe.train
    changed = _config(recipe, Options(steps=3, threads=2), seed=5)
    assert (changed.loop.steps, changed.loop.seed, changed.threads) == (3, 5, 2)
    assert changed.batch_size == recipe.train.batch_size
    assert _config(recipe, Options(minutes=2.0), seed=None).loop.budget_s == 120
    assert recipes.get("debug").train == recipe.train


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
        (["nano_gate", "--lr-scale", "2", "--seed", "1"], "--lr-scale, --seed: not for nano_gate"),
        (["nano_scene2robot", "--init", "there"], "--init: not for nano_scene2robot"),
        (["nano_vae", "--init", "nowhere"], "no video code in nowhere"),
        (["nano_gate", "--processes", "2"], "--processes: not for nano_gate"),
        (["nano_tabletop", "--data", "nowhere"], "kinema data make tabletop --out nowhere"),
        (["debug", "--resume"], "no checkpoint"),
        (["debug", "--init", "nowhere"], "no artifact folder"),
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


@pytest.mark.slow
def test_two_halves_make_an_artifact_that_acts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert cli.exit_code(["train", "debug", "--out", str(out), "--steps", "4"]) == 0
    assert cli.exit_code(["train", "debug", "--out", str(out), "--steps", "8", "--resume"]) == 0
    assert cli.exit_code(["bench", "policy", "--policy", str(out / "artifact"), "--rounds", "2"]) == 0
    assert "median ms" in capsys.readouterr().out
