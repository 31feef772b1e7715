"""How long a stage trains, as the command line says it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.train.loop import LoopConfig


def budgeted(loop: LoopConfig, steps: int | None, minutes: float | None) -> LoopConfig:
    """The recipe's loop with these steps or this time instead of its own, where one is given.

    Raises KinemaError when both are: the run would end by time, and the steps would not be heeded.
    """
    if steps is not None and minutes is not None:
        raise KinemaError("--steps and --minutes are two ways to say the same thing; give one of them")
    if steps is not None:
        return replace(loop, steps=steps, budget_s=None)
    return loop if minutes is None else replace(loop, budget_s=60 * minutes)
