"""`kinema train nano_detector`: from labelled pictures to the film detector's artifact."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import kinema
from kinema.bench.provenance import source_commit
from kinema.commands.terminal import saved_on_interrupt
from kinema.data.looks import read_views
from kinema.recipes.detector import DetectorRecipe
from kinema.schema import KinemaError
from kinema.train.detector import DetectorTraining, export


def train_detector(
    recipe: DetectorRecipe, *, data: Path, out: Path, steps: int | None, minutes: float | None, resume: bool,
    threads: int,
) -> Path:  # fmt: skip
    """Train on `data/looks/train`, measure on `data/looks/test` and write `out/artifact`."""
    folders = {part: sorted((data / "looks" / part).glob("*/")) for part in ("train", "test")}
    if not all(folders.values()):
        raise KinemaError(f"no labelled pictures below {data / 'looks'}; make them: {recipe.data_command}")
    loop = recipe.train.loop
    if steps is not None:
        loop = replace(loop, steps=steps)
    if minutes is not None:
        loop = replace(loop, budget_s=60 * minutes)
    config = replace(recipe.train, loop=loop, threads=threads)
    training = DetectorTraining(config, folders["train"], out)
    if resume:
        training.loop.resume()
    with saved_on_interrupt(lambda: f"The checkpoint is in {out}; --resume goes on from there."):
        training.loop.run()
    eyes = export(training.trained(), read_views(folders["test"]), out / "artifact", _provenance(training))
    print(f"error on held-out pictures: {eyes.error['held_out_true_films']}")
    return out / "artifact"


def _provenance(training: DetectorTraining) -> dict[str, object]:
    config, loop = training.config, training.loop
    return {
        "recipe": config.name,
        "kinema": kinema.__version__,
        "commit": source_commit(),
        "steps": loop.step,
        "batch_size": config.batch_size,
        "train_s": round(loop.elapsed_s, 1),
        "seed": config.loop.seed,
        "hardware": f"{platform.machine()}, {config.threads} thread(s)",
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "pictures": len(training.views.images),
        "seeds": [int(training.views.seed.min()), int(training.views.seed.max())],
    }
