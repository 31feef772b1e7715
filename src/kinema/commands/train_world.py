"""`kinema train nano_vae` and `kinema train nano_world`: the video code, then the world model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from kinema.commands import policies
from kinema.commands.budget import budgeted
from kinema.commands.provenance import trained
from kinema.commands.terminal import saved_on_interrupt
from kinema.recipes.world import VaeRecipe, WorldRecipe
from kinema.schema import KinemaError
from kinema.train.loop import LoopConfig


def train_vae(
    recipe: VaeRecipe, *, data: Path, out: Path, steps: int | None, minutes: float | None, resume: bool,
    threads: int,
) -> Path:  # fmt: skip
    """Train the video code, say what it loses on clips kept back, and write `out/vae` and `out/basis`."""
    from kinema.train.world import VaeTraining, psnr_of

    config = replace(recipe.train, loop=_loop(recipe.train.loop, steps, minutes), threads=threads)
    training = VaeTraining(config, recipe.clips(data, "train"), out)
    if resume:
        training.loop.resume()
    with saved_on_interrupt(lambda: f"The checkpoint is in {out}; --resume goes on from there."):
        training.loop.run()
    print(f"PSNR on clips kept back: {psnr_of(training.trained(), recipe.clips(data, 'validation')):.2f} dB")
    return training.export(out)


def train_world(
    recipe: WorldRecipe, *, data: Path, out: Path, steps: int | None, minutes: float | None, resume: bool,
    threads: int, processes: int = 1, policy: str = policies.DEFAULT,
) -> Path:  # fmt: skip
    """Train the world model over a finished video code and the shipped policy's backbone."""
    import torch

    from kinema.model import artifact
    from kinema.train import world

    torch.set_num_threads(threads)  # before anything is forked
    code = out.parent / recipe.vae
    if not (code / "vae" / "config.json").is_file():
        raise KinemaError(f"no video code in {code}; train it first: kinema train {recipe.vae} --out {code}")
    vae = world.load_vae(code)
    understanding = artifact.load(policies.artifact_folder(policy, recipe.bodies))
    sources = recipe.clips(data, "train")
    config = replace(
        recipe.train, loop=_loop(recipe.train.loop, steps, minutes), threads=threads, processes=processes
    )
    latents = world.make_latents(vae, understanding, sources, config.count, seed=config.loop.seed)
    with saved_on_interrupt(lambda: f"The checkpoint is in {out}; --resume goes on from there."):
        training = world.train_world(config, latents, vae, understanding, out, resume=resume)
    return training.export(out / "artifact", provenance(training))


def provenance(training: Any) -> dict[str, Any]:
    """What the shipped weights were made of."""
    cards, counts = _counts(training.latents.card)
    return trained(training.config, training.loop, training.model) | {
        "phases": [phase.name for phase in training.config.phases],
        "clips": dict(zip(cards, counts)),
        "policy": dict(training.policy.provenance),
    }


def _counts(names: Any) -> tuple[list[str], list[int]]:
    import numpy as np

    cards, counts = np.unique(names, return_counts=True)
    return [str(card) for card in cards], [int(count) for count in counts]


def _loop(loop: LoopConfig, steps: int | None, minutes: float | None) -> LoopConfig:
    if steps is not None and minutes is not None:
        raise KinemaError("--steps and --minutes are two ways to say the same thing; give one of them")
    return budgeted(loop, steps, minutes)
