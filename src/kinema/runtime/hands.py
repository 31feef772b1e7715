"""Look before you grasp: a moving body's plan ends where it would open or close a hand.

The plan that closes a hand was made some control steps before, from pictures in which the body was elsewhere.
In free space that costs little. At an object it costs the grasp, and worse: the next answer, asked for before
the hand began to close, opens it again, and so on at every seam. So a hand is only moved by an answer to a
question that was asked, and answered, while the body stood still; one latency for each opening or closing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.schema import ActionChunk

_ROUNDING_S = 1e-6


class Hands:
    """What a body's hands are told: for each of their channels, whether it is past its middle."""

    def __init__(self, card: EmbodimentCard) -> None:
        channels = [(i, c) for i, c in enumerate(card.actions) if c.slot.split(".")[1] in ("gripper", "hand")]
        self._index = np.array([i for i, _ in channels], int)
        self._middle = np.array([sum(c.range) / 2 for _, c in channels])

    def told(self, action: np.ndarray) -> np.ndarray:
        """bool (..., hand channels) of native actions (..., D)."""
        return action[..., self._index] > self._middle

    def before_they_change(self, chunk: ActionChunk, told: np.ndarray, now_s: float) -> ActionChunk | None:
        """The chunk up to the first action after now that tells the hands otherwise; None: at once."""
        due = chunk.times_s > now_s + _ROUNDING_S
        other = due & (self.told(chunk.values) != told).any(-1)
        if not other.any():
            return chunk
        end = int(np.argmax(other))
        if not due[:end].any():
            return None
        return replace(chunk, values=chunk.values[:end], times_s=chunk.times_s[:end])
