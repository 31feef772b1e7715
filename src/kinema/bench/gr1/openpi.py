"""RoboCasa-GR1 played by servers of openpi's protocol, in the numbers of the package."""

from __future__ import annotations

import numpy as np

from kinema.bench.gr1.benchmark import CARD
from kinema.bench.gr1.conventions import to_card, to_package
from kinema.card.load import load_card
from kinema.runtime.openpi_policy import OpenpiPolicy
from kinema.schema import Observation


class Gr1Server(OpenpiPolicy):
    """Asks a server that was made for GR00T's GR1: joints [rad], arms, then hands, then waist."""

    def state(self, observation: Observation) -> np.ndarray:
        """The package's 29 numbers for the card's."""
        return to_package(load_card(CARD), observation.state).astype(np.float32)

    def native(self, values: np.ndarray) -> np.ndarray:
        """The card's actions (T, 29) for targets [rad]."""
        return to_card(load_card(CARD), values)
