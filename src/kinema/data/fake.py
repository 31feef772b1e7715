"""Made-up demonstrations with a known law, for tests and the debug recipe.

A bright square stands somewhere in every picture; the action moves each channel in proportion to where it
stands. A policy that sees it can bring the loss to nothing; one that does not cannot.
"""

from __future__ import annotations

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.data.source import Source

_EPISODE = 20
_SQUARE = 12


def fake_source(card: EmbodimentCard, *, image_size: int, seed: int = 0, episodes: int = 12) -> Source:
    """Episodes of 20 steps on any body; the square keeps its place within an episode."""
    rng = np.random.default_rng(seed)
    steps, views = episodes * _EPISODE, len(card.cameras)
    place = np.repeat(rng.uniform(0.15, 0.85, (episodes, 2)), _EPISODE, 0)  # (N, uv)
    images = rng.integers(0, 60, (steps, views, image_size, image_size, 3), dtype=np.uint8)
    corner = (place * image_size - _SQUARE / 2).astype(int)
    for i, (u, v) in enumerate(corner):
        images[i, :, max(v, 0) : v + _SQUARE, max(u, 0) : u + _SQUARE] = (230, 60, 60)
    low, high = np.array([channel.range for channel in card.actions]).T
    direction = place @ rng.normal(size=(2, len(card.actions)))
    action = (low + high) / 2 + 0.1 * (high - low) * np.tanh(direction)
    state_low, state_high = np.array([channel.range for channel in card.states]).T
    state = (state_low + state_high) / 2 + 0.05 * (state_high - state_low) * rng.normal(
        size=(steps, len(card.states))
    )
    points = np.ones((steps, views, 2, 3), np.float32)
    points[..., :2] = place[:, None, None]
    return Source(
        name=f"fake_{card.name}",
        card=card,
        images=images.__getitem__,
        state=state.astype(np.float32),
        action=action.astype(np.float32),
        points=points,
        ends=(np.arange(episodes) + 1) * _EPISODE,
        task_index=np.zeros(steps, np.int64),
        tasks=["touch the bright square"],
        starts=np.arange(steps),
    )
