"""The row that belongs beside every number: what random motion reaches."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.schema import ActionChunk, Observation


class RandomPolicy:
    """Every number of every action uniform within the card's range, drawn from the episode's seed alone.

    cards: of bodies that are not shipped; the others are found by name.
    """

    provenance: ClassVar = {"policy": "random (uniform within the card's ranges)"}
    blind = True  # looks at no picture, so none is rendered for it

    def __init__(self, *cards: EmbodimentCard) -> None:
        self._cards = {card.name: card for card in cards}
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode."""
        self._rng = np.random.default_rng([seed, 0x72616E64])

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        """A chunk of the card's length."""
        if card_name not in self._cards:
            self._cards[card_name] = load_card(card_name)
        card = self._cards[card_name]
        low, high = np.array([channel.range for channel in card.actions]).T
        times_s = observation.time_s + (1 + np.arange(card.chunk)) / card.control_hz
        values = self._rng.uniform(low, high, (card.chunk, len(card.actions)))
        return ActionChunk(values=values, times_s=times_s, card=card_name)
