"""`kinema run` with a sentence of several steps: who plans, what is told of it, and what an error does."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema import cli
from kinema.commands import closed_loop
from kinema.commands.shipped import ARTIFACTS
from kinema.model.film.eyes import FilmEyes
from kinema.model.film.success import SuccessCheck
from kinema.worlds.tabletop.long.words import things_of
from refusals import one_line

TWO = "press the red button, then press the blue button"


@pytest.fixture(scope="module", autouse=True)
def small_film() -> None:
    closed_loop.FILM_PX = 64


def test_a_sentence_of_several_steps_is_planned_and_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert cli.exit_code(["run", TWO, "--policy", "expert", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "press the red button: " in printed
    page = (out / "report.html").read_text()
    assert "<h2>Steps</h2>" in page
    assert "press the blue button" in page


def test_an_endpoint_that_is_not_there_is_an_error_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["run", TWO, "--policy", "expert", "--planner", "http://127.0.0.1:9/v1", "--planner-model", "m"]
    assert cli.exit_code([*told, "--out", str(tmp_path / "run")]) == 1
    assert "error: the planner at http://127.0.0.1:9/v1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ([TWO, "--planner", "clever"], "choices: built-in"),
        ([TWO, "--planner-model", "m"], "--planner URL"),
        (["open the drawer", "--planner", "built-in"], "open the drawer"),
        ([TWO, "--robot", "ur5e"], "knows panda alone"),
        ([TWO, "--scene", "wide"], "wide"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    told: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in one_line(["run", *told, "--policy", "expert", "--out", str(tmp_path / "run")], capsys)


def test_the_shipped_check_fits_the_shipped_detector_and_tells_its_error() -> None:
    check = SuccessCheck.load(ARTIFACTS / "step_check", FilmEyes.load(ARTIFACTS / "film_detector"), things_of)
    assert check.card == "panda"
    held_out = check.error["held_out_scenes"]
    assert held_out["seeds"][0] >= 6_000_000
    for errors in (held_out["all"], held_out["back at the start"]):
        for rate in errors.values():
            assert rate["ci95"][0] <= rate["rate"] <= rate["ci95"][1]
