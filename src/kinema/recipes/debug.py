"""Recipes over data made up on the spot: the whole way in a minute, and the published size."""

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


def base() -> Recipe:
    """The published size, to see what it needs and how fast a GPU is; what it learns is noise."""
    return Recipe(
        name="base",
        summary="the published size from random weights, made-up data: for --plan, and to measure GPUs",
        data_command="nothing: the data is made up",
        stage=partial(PolicyStage, policy=lambda vocab_size: presets.base(), sources=large_made_up),
        pictures=None,
        batch_size=256,
        loop=LoopConfig(steps=100_000, optim=OptimConfig(lr=1e-4, matrix_lr=None, warmup_steps=1000)),
    )


def large_made_up(data: Path, pictures: Way = "cache") -> list[Source]:
    """One source of pictures of the published size, in memory."""
    return [fake_source(load_card("aloha"), image_size=224)]


def made_up(data: Path, pictures: Way = "cache") -> list[Source]:
    """The same two sources, in memory, whatever the folder."""
    return [fake_source(load_card(name), image_size=64, seed=i) for i, name in enumerate(("panda", "ur5e"))]
