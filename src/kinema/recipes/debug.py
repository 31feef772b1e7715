"""The debug recipe: the whole way in about a minute, on pictures and motions made up on the spot."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.data.frames import Way
from kinema.data.source import Source
from kinema.model.policy import presets
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Recipe
from kinema.train.stages.policy import PolicyStage


def debug() -> Recipe:
    """Two bodies, made-up data, thirty steps."""
    return Recipe(
        name="debug",
        summary="two bodies, made-up data, thirty steps (under a minute)",
        data_command="nothing: the data is made up",
        stage=partial(PolicyStage, policy=presets.tiny, sources=made_up),
        pictures=None,
        batch_size=16,
        loop=LoopConfig(steps=30, log_every=10, save_every=15, optim=OptimConfig(lr=2e-3, warmup_steps=5)),
    )


def made_up(data: Path, pictures: Way = "cache") -> list[Source]:
    """The same two sources, in memory, whatever the folder."""
    return [fake_source(load_card(name), image_size=64, seed=i) for i, name in enumerate(("panda", "ur5e"))]
