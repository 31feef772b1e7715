"""The row that belongs beside every number: what random motion reaches."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.runtime.policy import CardPolicy


class RandomPolicy(CardPolicy):
    """Every number of every action uniform within the card's range, drawn from the episode's seed alone."""

    provenance: ClassVar = {"policy": "random (uniform within the card's ranges)"}

    def __init__(self, *cards: EmbodimentCard) -> None:
        super().__init__(*cards)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode."""
        self._rng = np.random.default_rng([seed, 0x72616E64])

    def values(self, card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
        """Uniform draws."""
        low, high = np.array([channel.range for channel in card.actions]).T
        return self._rng.uniform(low, high, (card.chunk, len(card.actions)))
