"""`kinema train`: options change a copy of the recipe, a run is never overwritten, Ctrl-C keeps all."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from kinema import cli, recipes
from kinema.train.stop import STOPPING
from refusals import one_line


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
    assert says in one_line(["train", *arguments], capsys)


def test_a_run_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint").mkdir()
    assert "--resume" in one_line(["train", "debug", "--out", str(tmp_path)], capsys)


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
        assert option[1] in one_line(["train", recipe, *option], capsys)


@pytest.mark.slow
def test_two_halves_make_an_artifact_that_acts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert cli.exit_code(["train", "debug", "--out", str(out), "--steps", "4"]) == 0
    assert cli.exit_code(["train", "debug", "--out", str(out), "--steps", "8", "--resume"]) == 0
    assert cli.exit_code(["bench", "policy", "--policy", str(out / "artifact"), "--rounds", "2"]) == 0
    assert "median ms" in capsys.readouterr().out
