"""How long a stage trains, as the command line says it."""

from __future__ import annotations

from dataclasses import replace

from kinema.train.loop import LoopConfig


def budgeted(loop: LoopConfig, steps: int | None, minutes: float | None) -> LoopConfig:
    """The recipe's loop with these steps and this time instead of its own, where they are given."""
    if steps is not None:
        loop = replace(loop, steps=steps)
    return loop if minutes is None else replace(loop, budget_s=60 * minutes)
