"""Steps or time, never both: whatever the recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kinema import cli, recipes
from kinema.commands.train.budget import budgeted
from kinema.recipes.gate import nano_gate
from kinema.schema import KinemaError

LOOP = nano_gate().train.loop
TRAINED = ("debug", *recipes.GATES, *recipes.INVERSES, *recipes.DETECTORS, "nano_vae")


def test_what_is_given_replaces_what_the_recipe_says() -> None:
    assert budgeted(LOOP, None, None) == LOOP
    assert budgeted(LOOP, 7, None) == replace(LOOP, steps=7)
    assert budgeted(LOOP, None, 1.5) == replace(LOOP, budget_s=90)
    assert budgeted(replace(LOOP, budget_s=90), 7, None) == replace(LOOP, steps=7)


def test_both_are_refused() -> None:
    with pytest.raises(KinemaError, match=r"--steps and --minutes .* give one of them"):
        budgeted(LOOP, 7, 1.5)


@pytest.mark.parametrize("recipe", TRAINED)
def test_both_are_refused_before_the_data_is_looked_for(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.exit_code(["train", recipe, "--steps", "3", "--minutes", "1", "--data", "nowhere"]) == 2
    assert "give one of them" in capsys.readouterr().err
