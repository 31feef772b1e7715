"""`kinema train nano_detector`: from labelled pictures to the film detector's artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kinema.bench.provenance import source_commit
from kinema.commands.terminal import saved_on_interrupt
from kinema.commands.train.budget import Options
from kinema.data.looks import read_views
from kinema.recipes.detector import DetectorRecipe
from kinema.schema import KinemaError
from kinema.train.detector import DetectorTraining, export
from kinema.train.provenance import trained


def train_detector(recipe: DetectorRecipe, options: Options, *, data: Path, out: Path) -> Path:
    """Train on `data/looks/train`, measure on `data/looks/test` and write `out/artifact`."""
    loop = options.of(recipe.train.loop)
    folders = {part: sorted((data / "looks" / part).glob("*/")) for part in ("train", "test")}
    if not all(folders.values()):
        raise KinemaError(f"no labelled pictures below {data / 'looks'}; make them: {recipe.data_command}")
    config = replace(recipe.train, loop=loop, threads=options.threads)
    training = DetectorTraining(config, folders["train"], out, resume=options.resume)
    with saved_on_interrupt(lambda: f"The checkpoint is in {out}; --resume goes on from there."):
        training.loop.run()
    eyes = export(training.trained(), read_views(folders["test"]), out / "artifact", _provenance(training))
    print(f"error on held-out pictures: {eyes.error['held_out_true_films']}")
    return out / "artifact"


def _provenance(training: DetectorTraining) -> dict[str, object]:
    return trained(training.config, training.loop, training.model, source_commit()) | {
        "pictures": len(training.views.images),
        "seeds": [int(training.views.seed.min()), int(training.views.seed.max())],
    }
