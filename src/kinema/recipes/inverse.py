"""The recipe of inverse dynamics: the reader of films that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kinema.recipes.sources import tabletop_folders
from kinema.train.inverse import InverseTrainConfig
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig


@dataclass(frozen=True, kw_only=True)
class InverseRecipe:
    """summary: one line for help. roots: the data sets, from the data folder. data_command: makes them."""

    name: str
    summary: str
    train: InverseTrainConfig
    roots: Callable[[Path], list[Path]]
    data_command: str


def nano_inverse() -> InverseRecipe:
    """Three bodies on the tabletop, two 96 px cameras, pictures 0.3 s apart."""
    return InverseRecipe(
        name="nano_inverse",
        summary="actions from films of three bodies on the tabletop (half an hour on one core)",
        train=InverseTrainConfig(
            name="nano_inverse",
            loop=LoopConfig(
                steps=7000,
                optim=OptimConfig(
                    lr=2e-3, matrix_lr=None, weight_decay=0.01, warmup_steps=100, ema_decay=0.998
                ),
            ),
        ),
        roots=tabletop_folders,
        data_command="kinema data make tabletop --out data/tabletop",
    )
