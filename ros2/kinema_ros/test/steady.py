"""A policy that a command line can name: it moves the first joint steadily from where it stands."""

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.runtime.policy import CardPolicy, hold_action


class Steady(CardPolicy):
    def values(self, card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
        ahead = np.repeat(hold_action(card, state)[None], card.chunk, 0)
        ahead[:, 0] += 0.01 * (1 + np.arange(card.chunk))
        return ahead
