"""The nano recipes: the policies that are shipped, trained on two CPU cores."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from kinema.data.source import Source
from kinema.model.policy import presets
from kinema.recipes.recipe import Recipe
from kinema.recipes.sources import metaworld_sources, tabletop_sources
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.run import TrainConfig


def nano_tabletop() -> Recipe:
    """Three bodies, all tabletop families, two 96 px cameras."""
    return Recipe(
        name="nano_tabletop",
        summary="three bodies on the tabletop, all families, 96 px (about an hour on one core)",
        train=_train("nano_tabletop", image_size=96),
        sources=partial(tabletop_sources, image_size=96),
        data_command="kinema data make tabletop --out data/tabletop",
    )


def nano_metaworld() -> Recipe:
    """Meta-World MT50 from 50 demonstrations a task, one 128 px camera."""
    return Recipe(
        name="nano_metaworld",
        summary="Meta-World MT50, 50 demonstrations a task, 128 px (about an hour on one core)",
        train=_train("nano_metaworld", image_size=128),
        sources=metaworld_sources,
        data_command="kinema data make metaworld --raw --out data/metaworld_raw",
    )


def nano_mixed() -> Recipe:
    """Both in one set of weights, at Meta-World's picture size."""
    return Recipe(
        name="nano_mixed",
        summary="tabletop and Meta-World in one set of weights, 128 px (about three hours on one core)",
        train=_train("nano_mixed", image_size=128),
        sources=_both,
        data_command="the commands of nano_tabletop (with --image-size 128) and nano_metaworld",
    )


def _both(data: Path) -> list[Source]:
    """Half of the batch from each world."""
    tabletop, metaworld = tabletop_sources(data, image_size=128), metaworld_sources(data)
    share = len(metaworld) / len(tabletop)
    return [replace(source, weight=share) for source in tabletop] + metaworld


def _train(name: str, image_size: int) -> TrainConfig:
    return TrainConfig(
        name=name,
        policy=partial(presets.nano, image_size=image_size),
        batch_size=128,
        loop=LoopConfig(steps=8000, optim=OptimConfig(lr=1e-3, ema_decay=0.999)),
    )
