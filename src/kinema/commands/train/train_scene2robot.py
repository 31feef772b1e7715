"""`kinema train nano_scene2robot`: a robot in a person's place, over a finished video code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.bench.provenance import source_commit
from kinema.commands.terminal import saved_on_interrupt
from kinema.commands.train.budget import Options
from kinema.commands.train.train_world import counted, finished_code
from kinema.recipes.scene2robot import Scene2RobotRecipe
from kinema.train.provenance import trained

if TYPE_CHECKING:
    from kinema.train.scene2robot import Scene2RobotTraining

_HELD_OUT = 64  # clips of each kind that the result is judged on


def train_scene2robot(recipe: Scene2RobotRecipe, options: Options, *, data: Path, out: Path) -> Path:
    """Train on pairs of all bodies but those that are kept apart; say what is unexplained of both kinds."""
    import torch

    from kinema.train import scene2robot

    loop = options.of(recipe.train.loop)
    torch.set_num_threads(options.threads)  # before anything is forked
    code = finished_code(recipe.vae, out)
    config = replace(recipe.train, loop=loop, threads=options.threads, processes=options.processes)
    pairs = scene2robot.make_pairs(
        code, recipe.paired(data, "train"), config.count, loop.seed, loop.precision
    )
    kept = {
        "paired": recipe.paired(data, "validation"),
        "never paired": recipe.never_paired(data, "validation"),
    }
    held_out = {
        name: scene2robot.make_pairs(code, sets, _HELD_OUT, precision=loop.precision)
        for name, sets in kept.items()
        if sets
    }
    with saved_on_interrupt(lambda: f"The checkpoint is in {out}; --resume goes on from there."):
        training = scene2robot.train_scene2robot(config, pairs, held_out, code, out, resume=options.resume)
    for name, share in training.effects.items():
        print(f"{name} bodies, performances kept back: {share:.3f} of the robot is not foretold")
    return training.export(out / "artifact", provenance(training))


def provenance(training: Scene2RobotTraining) -> dict[str, Any]:
    """What the weights were made of. clips: of the bodies in pairs, no others."""
    return trained(training.config, training.loop, training.model, source_commit()) | {
        "unexplained": dict(training.effects),
        "clips": counted(training.pairs.card),
    }
