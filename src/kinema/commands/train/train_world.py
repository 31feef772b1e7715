"""`kinema train nano_vae` and `kinema train nano_world`: the video code, then the world model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kinema.bench.provenance import source_commit
from kinema.commands import policies
from kinema.commands.terminal import saved_on_interrupt
from kinema.commands.train.budget import Options
from kinema.recipes.world import VaeRecipe, WorldRecipe
from kinema.schema import KinemaError
from kinema.train.provenance import trained

if TYPE_CHECKING:
    from kinema.model.world.change_code import ChangeCode

_HELD_OUT = 64  # clips of each body that the phases are judged on


def train_vae(
    recipe: VaeRecipe, options: Options, *, data: Path, out: Path, init: Path | None = None
) -> Path:
    """Train the video code, say what it loses on clips kept back, and write `out/vae`.

    init: a folder whose `vae` is a code of the same size to start from
    """
    from kinema.train import world

    config = replace(
        recipe.train,
        loop=options.of(recipe.train.loop),
        threads=options.threads,
        processes=options.processes,
    )
    start = _code_in(init) if init else None
    with saved_on_interrupt(lambda: f"The checkpoint is in {out}; --resume goes on from there."):
        training = world.train_vae(
            config, recipe.clips(data, "train"), out, resume=options.resume, init=start
        )
    kept, code = recipe.clips(data, "validation"), training.trained()
    known, unknown = (world.psnr_of(code, kept, first_known=first) for first in (True, False))
    print(f"PSNR on clips kept back: {known:.2f} dB beside the first picture, {unknown:.2f} dB from its code")
    return world.save_vae(code, out)


def train_world(
    recipe: WorldRecipe, options: Options, *, data: Path, out: Path, init: Path | None = None,
    policy: str = policies.DEFAULT,
) -> Path:  # fmt: skip
    """Train the world model over a finished video code and the shipped policy's backbone.

    init: a world model's artifact to start from
    """
    import torch

    from kinema.model.policy import artifact
    from kinema.model.world import artifact as world_artifact
    from kinema.train import world

    loop = options.of(recipe.train.loop)
    torch.set_num_threads(options.threads)  # before anything is forked
    start = world_artifact.load(init).model if init else None
    vae = finished_code(recipe.vae, out)
    understanding = artifact.load(policies.artifact_folder(policy, recipe.bodies))
    sources = recipe.clips(data, "train")
    config = replace(recipe.train, loop=loop, threads=options.threads, processes=options.processes)
    made = partial(world.make_latents, vae, understanding, seed=loop.seed, precision=loop.precision)
    latents = made(sources, config.count)
    kept = recipe.clips(data, "validation")
    few = dict.fromkeys(config.count, _HELD_OUT)
    held_out = made(kept, few)
    with saved_on_interrupt(lambda: f"The checkpoint is in {out}; --resume goes on from there."):
        training = world.train_world(
            config, latents, held_out, vae, understanding, out, resume=options.resume, init=start
        )
    return training.export(out / "artifact", provenance(training))


def finished_code(recipe: str, out: Path) -> ChangeCode:
    """The video code that the run of this recipe beside `out` wrote. KinemaError when there is none."""
    code = out.parent / recipe
    if not _has_code(code):
        raise KinemaError(f"no video code in {code}; train it first: kinema train {recipe} --out {code}")
    return _code_in(code)


def _has_code(folder: Path) -> bool:
    return (folder / "vae" / "config.json").is_file()


def _code_in(folder: Path) -> ChangeCode:
    from kinema.train import world

    if not _has_code(folder):
        raise KinemaError(f"no video code in {folder}; a folder that `kinema train nano_vae` wrote is needed")
    return world.load_vae(folder)


def provenance(training: Any) -> dict[str, Any]:
    """What the shipped weights were made of."""
    return trained(training.config, training.loop, training.model, source_commit()) | {
        "unexplained_after_phase": dict(training.effects),
        "clips": counted(training.latents.card),
        "policy": dict(training.policy.provenance),
    }


def counted(cards: np.ndarray) -> dict[str, int]:
    """How many clips (M,) there are of each body."""
    names, counts = np.unique(cards, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts)}
