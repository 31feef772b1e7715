"""The recipes of small networks that read pictures: the gate's, the film detector, inverse dynamics and the
success check."""

from __future__ import annotations

from functools import partial

from kinema.bench.metrics.intervals import wilson95
from kinema.commands.shipped import ARTIFACTS
from kinema.recipes.sources import made_folders
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Recipe
from kinema.train.stages import detector, gate, step_check
from kinema.train.stages.inverse import InverseStage


def nano_gate() -> Recipe:
    """Three bodies, all tabletop families, obstacles, a hand and spoilt motion; a second ahead."""
    optim = OptimConfig(lr=2.5e-3, matrix_lr=None, warmup_steps=100, ema_decay=0.998)
    return Recipe(
        name="nano_gate",
        summary="what chunks lead to on the tabletop, and the gate's limits (half an hour on one core)",
        data_command=gate.DATA_COMMAND,
        stage=gate.GateStage,
        pictures=None,
        batch_size=16,
        loop=LoopConfig(steps=7500, optim=optim),
    )


def nano_detector() -> Recipe:
    """Three bodies, all tabletop families, both cameras; quarter of an hour on one core."""
    optim = OptimConfig(lr=2e-3, matrix_lr=None, warmup_steps=50, ema_decay=0.99)
    return Recipe(
        name="nano_detector",
        summary="where each nameable thing is in a picture, to judge films by (minutes on one core)",
        data_command=detector.DATA_COMMAND,
        stage=detector.DetectorStage,
        pictures=None,
        batch_size=64,
        loop=LoopConfig(steps=1500, save_every=100, optim=optim),
    )


def nano_inverse() -> Recipe:
    """Three bodies on the tabletop, two 96 px cameras, pictures 0.3 s apart."""
    optim = OptimConfig(lr=2e-3, matrix_lr=None, weight_decay=0.01, warmup_steps=100, ema_decay=0.998)
    return Recipe(
        name="nano_inverse",
        summary="actions from films of three bodies on the tabletop (half an hour on one core)",
        data_command="kinema data make tabletop --out data/tabletop",
        stage=partial(InverseStage, roots=made_folders),
        batch_size=24,
        loop=LoopConfig(steps=7000, optim=optim),
    )


def nano_step_check() -> Recipe:
    """The Panda's long tasks, both cameras, over the shipped film detector; minutes on one core."""
    optim = OptimConfig(lr=2e-3, matrix_lr=None, weight_decay=0.02, warmup_steps=50, ema_decay=0.995)
    stage = partial(step_check.StepCheckStage, detector=ARTIFACTS / "film_detector", interval=wilson95)
    return Recipe(
        name="nano_step_check",
        summary="whether a step of a long task is done, from pictures (minutes on one core)",
        data_command=step_check.DATA_COMMAND,
        stage=stage,
        pictures=None,
        batch_size=1024,
        loop=LoopConfig(steps=1200, save_every=300, optim=optim),
    )
