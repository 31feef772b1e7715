"""The recipe of inverse dynamics: the reader of films that is shipped."""

from __future__ import annotations

from functools import partial

from kinema.recipes.sources import tabletop_folders
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Recipe
from kinema.train.stages.inverse import InverseStage


def nano_inverse() -> Recipe:
    """Three bodies on the tabletop, two 96 px cameras, pictures 0.3 s apart."""
    return Recipe(
        name="nano_inverse",
        summary="actions from films of three bodies on the tabletop (half an hour on one core)",
        data_command="kinema data make tabletop --out data/tabletop",
        stage=partial(InverseStage, roots=tabletop_folders),
        batch_size=24,
        loop=LoopConfig(
            steps=7000,
            optim=OptimConfig(lr=2e-3, matrix_lr=None, weight_decay=0.01, warmup_steps=100, ema_decay=0.998),
        ),
    )
