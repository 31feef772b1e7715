"""The part of the table that a body works on."""

from __future__ import annotations

import numpy as np

from kinema.card.card import EmbodimentCard

MARGIN_M = 0.04


def table_area(card: EmbodimentCard) -> tuple[np.ndarray, np.ndarray]:
    """Its corners (2,), low and high, in the robot's frame: the workspace from above, with a margin [m]."""
    (x0, x1), (y0, y1), _ = card.workspace_m
    return np.array([x0, y0]) - MARGIN_M, np.array([x1, y1]) + MARGIN_M
