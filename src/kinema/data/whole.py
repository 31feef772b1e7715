"""A source's trajectories as wholes, for who learns motion from words alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kinema.data.source import Source


def no_pictures(steps: np.ndarray) -> np.ndarray:
    """Of steps (n,) of a source without views: uint8 (n, 0, 1, 1, 3)."""
    return np.zeros((len(steps), 0, 1, 1, 3), np.uint8)


def whole_trajectories(source: Source, steps: int) -> Source:
    """Without its pictures, one window for each episode that is learnt from, from its first step on.

    Its body is asked for `steps` actions instead of its card's chunk; what is beyond an episode is masked.
    """
    begins = np.append(0, source.ends[:-1])
    learnt = source.ends - begins >= source.ratio
    learnt[list(source.held_out)] = False
    return replace(
        source, card=source.card.model_copy(update={"chunk": steps}), images=no_pictures, points=None,
        starts=begins[learnt], sampled=None,
    )  # fmt: skip
