"""Where a body will be when an action has been carried out, as far as its card tells.

A policy whose answer comes late is asked about the moment at which the answer can be used: its pictures are
from before, but the pose is the one that the actions under way lead to (future-state-aware asynchronous
inference: Tang et al. 2025, arXiv 2512.01031). Training makes its rows with this same function.

Axes: ... any leading axes, S state channels, D action channels.
"""

from __future__ import annotations

import numpy as np

from kinema.card.card import EmbodimentCard


class Foreseen:
    """Moves native states of one body on to an action's targets."""

    def __init__(self, card: EmbodimentCard) -> None:
        action_of = {channel.slot: i for i, channel in enumerate(card.actions)}
        # whether a hand has closed on something is only ever measured
        moved = [(i, action_of[c.slot]) for i, c in enumerate(card.states) if _is_pose(c.slot, action_of)]
        self._state = np.array([i for i, _ in moved], int)
        self._action = np.array([i for _, i in moved], int)

    def after(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The state (..., S) with the poses that the action (..., D) commands; hands as they are."""
        out = state.copy()
        out[..., self._state] = action[..., self._action]
        return out


def _is_pose(slot: str, action_of: dict[str, int]) -> bool:
    return slot in action_of and slot.split(".")[1] in ("joint", "ee", "rot")
