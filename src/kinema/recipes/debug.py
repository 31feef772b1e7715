"""The debug recipe: the whole way in about a minute, on pictures and motions made up on the spot."""

from __future__ import annotations

from pathlib import Path

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.data.source import Source
from kinema.model.policy import presets
from kinema.recipes.recipe import Recipe
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.run import TrainConfig


def debug() -> Recipe:
    """Two bodies, made-up data, thirty steps."""
    return Recipe(
        name="debug",
        summary="two bodies, made-up data, thirty steps (under a minute)",
        train=TrainConfig(
            name="debug",
            policy=presets.tiny,
            batch_size=16,
            loop=LoopConfig(
                steps=30, log_every=10, save_every=15, optim=OptimConfig(lr=2e-3, warmup_steps=5)
            ),
        ),
        sources=_sources,
        data_command="nothing: the data is made up",
    )


def _sources(data: Path) -> list[Source]:
    return [fake_source(load_card(name), image_size=64, seed=i) for i, name in enumerate(("panda", "ur5e"))]
