"""What nobody observed, to measure or to warm up with. Asking for an observation needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.schema import Observation
from kinema.space.layout import NUM_SLOTS

if TYPE_CHECKING:
    from kinema.data.batch import Inputs
    from kinema.model.policy.policy import PolicyConfig


def observation(card: EmbodimentCard, image_size: int) -> Observation:
    """Noise in every camera, and a state in the middle of the card's ranges."""
    low, high = np.array([channel.range for channel in card.states]).T
    rng = np.random.default_rng(0)
    shape = (image_size, image_size, 3)
    return Observation(
        images={name: rng.integers(0, 256, shape, dtype=np.uint8) for name in card.camera_names},
        state=((low + high) / 2).astype(np.float32),
        instruction="put the red block in the blue bowl",
        time_s=0.0,
    )


def inputs(config: PolicyConfig, views: int, words: int) -> Inputs:
    """One row of noise for a network: so many views and words."""
    import torch

    from kinema.data.batch import Inputs

    made = torch.Generator().manual_seed(0)
    side, vocabulary = config.source_size, config.text["vocab_size"]
    whole = torch.ones(1, NUM_SLOTS, dtype=torch.bool)
    return Inputs(
        images=torch.randint(0, 256, (1, views, 3, side, side), generator=made, dtype=torch.uint8),
        image_mask=torch.ones(1, views, dtype=torch.bool),
        tokens=torch.randint(vocabulary, (1, words), generator=made),
        token_mask=torch.ones(1, words, dtype=torch.bool),
        tags=torch.randint(vocabulary, (1, views, 2), generator=made),
        state=torch.randn(1, NUM_SLOTS, generator=made),
        moved=torch.zeros(1, NUM_SLOTS),
        state_mask=whole,
        slot_mask=whole,
    )
