"""A small policy's run: recipes over any sources, and everything that has begun of one under one name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from kinema import recipes
from kinema.data.source import Source
from kinema.recipes.sources import with_sources
from kinema.train.loop import Loop
from kinema.train.parallel import Group
from kinema.train.recipe import Options, Recipe
from kinema.train.run import Run


def debug_recipe(sources: Sequence[Source] | None = None, *, vocab_size: int = 1024, **loop: Any) -> Recipe:
    """The debug recipe over these sources (default: its own), with another loop."""
    recipe = recipes.get("debug")
    if sources is not None:
        recipe = with_sources(recipe, sources)
        recipe = replace(recipe, stage=partial(recipe.stage, vocab_size=vocab_size))
    return replace(recipe, loop=replace(recipe.loop, **{"save_every": 1000, **loop}))


@dataclass(frozen=True, kw_only=True)
class Begun:
    run: Run
    loop: Loop[Any]

    def __getattr__(self, name: str) -> Any:
        """policy, mixture, and what the stage holds: codecs, tokenizer, sources."""
        found = {"policy": lambda: self.run.stage.model, "mixture": lambda: self.loop.mixture}
        return found[name]() if name in found else getattr(self.run.stage, name)

    def export(self, folder: Path) -> Path:
        return self.run.export(self.loop, folder)


def begin(recipe: Recipe, out: Path, group: Group | None = None, **options: Any) -> Begun:
    run = Run(recipe, out, out, Options(**options))
    return Begun(run=run, loop=run.begin(group))
