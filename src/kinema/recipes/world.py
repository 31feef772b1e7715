"""The recipes of the world model: the video code and the nano model that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kinema.card.load import load_card
from kinema.data.clips import ClipShape, ClipSource, Part, open_clips
from kinema.model import world_presets
from kinema.recipes.sources import tabletop_folders
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.world import VaeTrainConfig

BODIES = ("panda", "ur5e", "aloha")


@dataclass(frozen=True, kw_only=True)
class VaeRecipe:
    """summary: one line for help. clips: the training or the kept back clips below a data folder."""

    name: str
    summary: str
    train: VaeTrainConfig
    clips: Callable[[Path, Part], list[ClipSource]]
    data_command: str


def tabletop_clips(data: Path, part: Part) -> list[ClipSource]:
    """Two 96 px views of three bodies, thirteen frames 0.3 s apart."""
    cards = {name: load_card(name) for name in BODIES}
    return open_clips(tabletop_folders(data), cards, ClipShape(), part)


def nano_vae() -> VaeRecipe:
    """The video code of the nano world model."""
    return VaeRecipe(
        name="nano_vae",
        summary="the nano world model's video code (twenty minutes on one core)",
        train=VaeTrainConfig(
            name="nano_vae",
            vae=world_presets.VAE_NANO,
            loop=LoopConfig(
                steps=2000,
                save_every=100,
                optim=OptimConfig(
                    lr=1.5e-3, matrix_lr=None, weight_decay=0.01, warmup_steps=50, ema_decay=0.995
                ),
            ),
        ),
        clips=tabletop_clips,
        data_command="kinema data make tabletop --out data/tabletop",
    )
