"""Targets between control steps, for drivers that take them faster than the card's rate.

Between the guard's actions the target follows a quadratic B-spline: its velocity goes over from that of the
step before to that of this one in a straight line. So it keeps their speeds and their acceleration, and all
that holds for everything between them (ranges, a tool's box). It comes to an action when the actions stand.
Before that it is half a control period behind them.
"""

from __future__ import annotations

import math

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.runtime.buffer import Mixing
from kinema.schema import KinemaError

_ROUNDING = 1e-9


class Interpolation:
    """The targets of one body whose driver takes `command_hz`. `anchor` first."""

    def __init__(self, card: EmbodimentCard, command_hz: float) -> None:
        if not (math.isfinite(command_hz) and command_hz > 0):
            raise KinemaError(f"command_hz must be finite and above 0; got {command_hz}")
        self._mixing = Mixing(card)
        self.targets = max(math.ceil(command_hz / card.control_hz - _ROUNDING), 1)  # in a control period

    def anchor(self, action: np.ndarray) -> None:
        """The body stands at this action (D,)."""
        self._knots = [action.copy()] * 3

    def push(self, action: np.ndarray) -> None:
        """The guard's action (D,) for the control period that begins now."""
        self._knots = [*self._knots[1:], action.copy()]

    def at(self, share: float) -> np.ndarray:
        """The target (D,) for this share of the period, in (0, 1]; a gripper's is the newest action's."""
        first, second, third = self._knots
        early = self._mixing.between(first, second, (1 + share) / 2)
        late = self._mixing.between(second, third, share / 2)
        return self._mixing.between(early, late, share)

    @property
    def at_rest(self) -> bool:
        """Whether the targets have come to the newest action."""
        return all(np.array_equal(knot, self._knots[-1]) for knot in self._knots)
