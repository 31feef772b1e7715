"""The film detector's recipe."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.train.detector import DetectorTrainConfig
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig


@dataclass(frozen=True, kw_only=True)
class DetectorRecipe:
    """summary: one line for help. data_command: what makes the data."""

    name: str
    summary: str
    train: DetectorTrainConfig
    data_command: str


def nano_detector() -> DetectorRecipe:
    """Three bodies, all tabletop families, both cameras; quarter of an hour on one core."""
    return DetectorRecipe(
        name="nano_detector",
        summary="where each nameable thing is in a picture, to judge films by (minutes on one core)",
        train=DetectorTrainConfig(
            name="nano_detector",
            loop=LoopConfig(
                steps=1500,
                save_every=100,
                optim=OptimConfig(lr=2e-3, matrix_lr=None, warmup_steps=50, ema_decay=0.99),
            ),
        ),
        data_command="kinema data make looks --episodes 60 --out data/looks",
    )
