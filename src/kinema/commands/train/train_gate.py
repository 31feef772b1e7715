"""`kinema train nano_gate`: from labelled chunks to the gate's artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kinema.bench.provenance import source_commit
from kinema.commands.terminal import saved_on_interrupt
from kinema.commands.train.budget import Options
from kinema.data import hazards
from kinema.recipes.gate import GateRecipe
from kinema.schema import KinemaError
from kinema.train.gate import GateTraining, export
from kinema.train.provenance import trained


def train_gate(recipe: GateRecipe, options: Options, *, data: Path, out: Path) -> Path:
    """Train, set the thresholds on the calibration's episodes and write `out/artifact`."""
    print(f"recipe {recipe.name}: {recipe.summary}")
    loop = options.of(recipe.train.loop)
    folder = data / "hazards"
    if not hazards.bodies(folder / "train"):
        raise KinemaError(f"no labelled chunks below {folder}; make them with: {recipe.data_command}")
    config = replace(recipe.train, loop=loop, threads=options.threads)
    training = GateTraining(config, folder, out, resume=options.resume)
    with saved_on_interrupt(lambda: f"The checkpoint is in {out}; --resume goes on from there."):
        training.loop.run()
    return export(training.trained(), folder, out / "artifact", recipe.promise, _provenance(training))


def _provenance(training: GateTraining) -> dict[str, object]:
    return trained(training.config, training.loop, training.model, source_commit()) | {
        "data": [
            {
                "card": body.reader.card.name,
                "states": len(body),
                "chunks": int(body["kind"].size),
                "seeds": [int(body["seed"].min()), int(body["seed"].max())],
            }
            for body in training.bodies
        ],
    }
