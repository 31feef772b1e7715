"""The film detector's recipe."""

from __future__ import annotations

from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Recipe
from kinema.train.stages.detector import DATA_COMMAND, DetectorStage


def nano_detector() -> Recipe:
    """Three bodies, all tabletop families, both cameras; quarter of an hour on one core."""
    return Recipe(
        name="nano_detector",
        summary="where each nameable thing is in a picture, to judge films by (minutes on one core)",
        data_command=DATA_COMMAND,
        stage=DetectorStage,
        pictures=None,
        batch_size=64,
        loop=LoopConfig(
            steps=1500,
            save_every=100,
            optim=OptimConfig(lr=2e-3, matrix_lr=None, warmup_steps=50, ema_decay=0.99),
        ),
    )
