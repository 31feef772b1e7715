"""The gate recipe: the latent dynamics that is shipped, and what it promises."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.train.gate import GateTrainConfig, Promise
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig


@dataclass(frozen=True, kw_only=True)
class GateRecipe:
    """summary: one line for help. data_command: what makes the data. promise: what misses it keeps to."""

    name: str
    summary: str
    train: GateTrainConfig
    promise: Promise
    data_command: str


def nano_gate() -> GateRecipe:
    """Three bodies, all tabletop families, obstacles, a hand and spoilt motion; a second ahead."""
    return GateRecipe(
        name="nano_gate",
        summary="what chunks lead to on the tabletop, and the gate's limits (half an hour on one core)",
        train=GateTrainConfig(
            name="nano_gate",
            loop=LoopConfig(
                steps=7500,
                optim=OptimConfig(lr=2.5e-3, matrix_lr=None, warmup_steps=100, ema_decay=0.998),
            ),
        ),
        promise=Promise(),
        data_command="kinema data make hazards --out data/hazards",
    )
