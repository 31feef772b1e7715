"""Steps or time, never both: whatever the recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kinema import cli, recipes
from kinema.recipes.perception import nano_gate
from kinema.schema import KinemaError
from kinema.train.recipe import Options

RECIPE = nano_gate()


def test_what_is_given_replaces_what_the_recipe_says() -> None:
    loop = RECIPE.loop
    assert Options().of(RECIPE) == RECIPE
    assert Options(steps=7).of(RECIPE).loop == replace(loop, steps=7)
    assert Options(minutes=1.5).of(RECIPE).loop == replace(loop, budget_s=90)
    timed = replace(RECIPE, loop=replace(loop, budget_s=90))
    assert Options(steps=7).of(timed).loop == replace(loop, steps=7)
    changed = Options(seed=5, batch_size=8, lr_scale=0.5, evaluate_every=3).of(RECIPE)
    assert (changed.loop.seed, changed.batch_size, changed.loop.evaluate_every) == (5, 8, 3)
    assert changed.loop.optim == loop.optim.scaled(0.5)
    assert changed.stage is RECIPE.stage


def test_both_are_refused() -> None:
    with pytest.raises(KinemaError, match=r"--steps and --minutes .* give one of them"):
        Options(steps=7, minutes=1.5)


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_both_are_refused_before_the_data_is_looked_for(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.exit_code(["train", recipe, "--steps", "3", "--minutes", "1", "--data", "nowhere"]) == 2
    assert "give one of them" in capsys.readouterr().err
