"""The first stage of the policies: motion from words, before anything is seen."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from kinema.data.frames import Way
from kinema.data.source import Source
from kinema.model.policy import presets
from kinema.recipes.sources import made_sources, planned_sources
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Recipe
from kinema.train.stages.t2a import FROZEN, T2AStage

# Six arms as different as the published ones, of which the seventh joint, the range and the rate differ.
ARMS = ("panda", "ur5e", "ur10e", "kinova_gen3", "xarm7", "aloha")
_EACH = 4000  # trajectories


def nano_t2a() -> Recipe:
    """The decoder of `nano`, on the tabletop's trajectories and planned ones."""
    return Recipe(
        name="nano_t2a",
        summary="the first stage: the decoder alone, whole trajectories from words, no pictures",
        data_command="kinema data make tabletop --out data/tabletop",
        stage=partial(T2AStage, policy=presets.nano, sources=_tabletop_and_planned),
        pictures=None,
        batch_size=64,
        loop=LoopConfig(steps=2000, optim=OptimConfig(lr=1e-3, ema_decay=0.995, rules=(FROZEN,))),
    )


def _tabletop_and_planned(data: Path, pictures: Way) -> list[Source]:
    return made_sources(data, pictures, image_size=96) + planned_sources(ARMS, each=_EACH)
