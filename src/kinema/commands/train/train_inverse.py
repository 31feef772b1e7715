"""`kinema train nano_inverse`: from recorded episodes to a reader of films."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kinema.bench.provenance import source_commit
from kinema.commands.terminal import saved_on_interrupt, table
from kinema.commands.train.budget import Options
from kinema.recipes.inverse import InverseRecipe
from kinema.train.inverse import InverseTraining
from kinema.train.provenance import trained


def train_inverse(recipe: InverseRecipe, options: Options, *, data: Path, out: Path) -> None:
    """Train, measure on episodes that were left out, write `out/artifact` and print the errors."""
    print(f"recipe {recipe.name}: {recipe.summary}")
    config = replace(recipe.train, loop=options.of(recipe.train.loop), threads=options.threads)
    training = InverseTraining(config, recipe.roots(data), out, resume=options.resume)
    with saved_on_interrupt(lambda: f"The checkpoint is in {out}; --resume goes on from there."):
        training.loop.run()
    reader = training.export(out / "artifact", _provenance(training))
    print(errors_table(reader.errors))
    print(f"film reader: {out / 'artifact'}")


def errors_table(errors: Mapping[str, Any]) -> str:
    """Mean absolute errors on episodes that were left out of training."""
    rows = []
    for body, found in errors.items():
        for what, units in found.items():
            if isinstance(units, Mapping):
                shown = ", ".join(f"{value:.4f} {unit}" for unit, value in units.items())
                rows.append((body, what, shown, str(found["films"])))
    return table(rows, ("body", "what", "mean absolute error", "films"))


def _provenance(training: InverseTraining) -> dict[str, Any]:
    return trained(training.config, training.loop, training.model, source_commit()) | {
        "pictures": training.config.pictures,
        "data": [
            {"card": source.card.name, "pictures": len(source), "data_set": root.parent.name}
            for source, root in zip(training.sources, training.roots)
        ],
    }
