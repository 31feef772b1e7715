"""The gate recipe: the latent dynamics that is shipped, and what it promises."""

from __future__ import annotations

from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Recipe
from kinema.train.stages.gate import DATA_COMMAND, GateStage


def nano_gate() -> Recipe:
    """Three bodies, all tabletop families, obstacles, a hand and spoilt motion; a second ahead."""
    return Recipe(
        name="nano_gate",
        summary="what chunks lead to on the tabletop, and the gate's limits (half an hour on one core)",
        data_command=DATA_COMMAND,
        stage=GateStage,
        pictures=None,
        batch_size=16,
        loop=LoopConfig(
            steps=7500,
            optim=OptimConfig(lr=2.5e-3, matrix_lr=None, warmup_steps=100, ema_decay=0.998),
        ),
    )
