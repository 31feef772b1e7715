"""The nano recipes: the policies that are shipped, trained on two CPU cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from kinema.commands.terminal import choose
from kinema.data.frames import Way
from kinema.data.source import Source
from kinema.model.policy import presets
from kinema.model.policy.policy import PolicyConfig
from kinema.recipes.sources import made_sources, metaworld_sources, named_sources
from kinema.schema import KinemaError
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Recipe
from kinema.train.stage import Setting
from kinema.train.stages.policy import PolicyStage

_PRESETS: dict[str, Callable[..., PolicyConfig]] = {"nano": presets.nano, "nano_look": presets.nano_look}


def nano() -> Recipe:
    """One's own data sets, from random weights."""
    recipe = _nano(
        "nano", "data sets of one's own, from random weights, 96 px",
        "--data SET, once for each, and --card where a set does not say whose it is", _told,
    )  # fmt: skip
    return replace(recipe, is_told=True)


def _told(setting: Setting) -> PolicyStage:
    told = setting.named
    if not told.sets:
        raise KinemaError("nano needs data sets: --data SET, once for each")
    if told.backbone or told.revision or told.lora:
        raise KinemaError("nano has its own network; --backbone and --lora are told to `finetune`")
    policy = _PRESETS[choose("preset of nano", told.preset or "nano", list(_PRESETS))]
    size = policy().source_size

    def sources(data: Path, pictures: Way) -> list[Source]:
        return named_sources(told.sets, pictures, card=told.card, image_size=size, hold_out=told.hold_out)

    return PolicyStage(setting, policy=policy, sources=sources)


def nano_tabletop() -> Recipe:
    """Three bodies, all tabletop families, two 96 px cameras."""
    return _nano(
        "nano_tabletop", "three bodies on the tabletop, all families, 96 px (about an hour on one core)",
        "kinema data make tabletop --out data/tabletop", _on(partial(made_sources, image_size=96), 96),
    )  # fmt: skip


def nano_metaworld() -> Recipe:
    """Meta-World MT50 from 50 demonstrations a task, one 128 px camera."""
    return _nano(
        "nano_metaworld", "Meta-World MT50, 50 demonstrations a task, 128 px (about an hour on one core)",
        "kinema data make metaworld --raw --out data/metaworld_raw", _on(metaworld_sources, 128),
        pictures=None,
    )  # fmt: skip


def nano_metaworld_look() -> Recipe:
    """The same with a second look, from pictures of 256 px. No artifact of it is shipped."""
    return _nano(
        "nano_metaworld_look", "the same with a second look: 128 px, and crops of 64 of 256 px",
        "kinema data make metaworld --raw --image-size 256 --out data/metaworld_raw",
        partial(PolicyStage, policy=presets.nano_look, sources=partial(metaworld_sources, image_size=256)),
        pictures=None,
    )  # fmt: skip


def nano_libero() -> Recipe:
    """LIBERO's demonstrations by its expert, two 128 px cameras."""
    return _nano(
        "nano_libero", "LIBERO, demonstrations of its expert, 128 px (hours on two cores)",
        "kinema data make libero --out data/libero",
        _on(partial(made_sources, world="libero", image_size=128), 128),
    )  # fmt: skip


def nano_aloha() -> Recipe:
    """ALOHA's two tasks by their expert, one 128 px camera, chunks of a second.

    At 50 Hz a chunk of 16 is a third of a second, in which an arm that waits for the other one does nothing,
    and nearly every target is where the body is already. ACT has 100 (Zhao et al. 2023, arXiv 2304.13705).
    """
    return _nano(
        "nano_aloha", "ALOHA's two tasks, demonstrations of their expert, 128 px (hours on one core)",
        "kinema data make aloha --episodes 50 --out data/aloha",
        _on(partial(made_sources, world="aloha", image_size=128), 128, horizon=50),
    )  # fmt: skip


def nano_simpler() -> Recipe:
    """SimplerEnv's four WidowX tasks by their expert, one 128 px camera."""
    return _nano(
        "nano_simpler", "SimplerEnv WidowX, demonstrations of its expert, 128 px (about an hour on one core)",
        "kinema data make simpler --out data/simpler",
        _on(partial(made_sources, world="simpler", image_size=128), 128),
    )  # fmt: skip


def nano_navigation() -> Recipe:
    """Ways through houses by the shortest path's expert, three bases, 96 px, chunks of 8 waypoints.

    Each base's camera comes with what it saw 1 and 4 s ago.
    """
    return _nano(
        "nano_navigation", "ways through houses, three bases, demonstrations of the expert, 96 px",
        "kinema data make navigation --out data/navigation",
        _on(partial(made_sources, world="navigation", image_size=96), 96, horizon=8),
    )  # fmt: skip


def nano_mixed() -> Recipe:
    """Both in one set of weights, at Meta-World's picture size."""
    return _nano(
        "nano_mixed", "tabletop and Meta-World in one set of weights, 128 px (about three hours on one core)",
        "the commands of nano_tabletop (with --image-size 128) and nano_metaworld", _on(_both, 128),
    )  # fmt: skip


def _both(data: Path, pictures: Way) -> list[Source]:
    """Half of the batch from each world."""
    tabletop, metaworld = made_sources(data, pictures, image_size=128), metaworld_sources(data)
    share = len(metaworld) / len(tabletop)
    return [replace(source, weight=share) for source in tabletop] + metaworld


def _on(
    sources: Callable[[Path, Way], list[Source]], image_size: int, horizon: int = 16
) -> Callable[[Setting], PolicyStage]:
    network = partial(presets.nano, image_size=image_size, horizon=horizon)
    return partial(PolicyStage, policy=network, sources=sources)


def _nano(
    name: str, summary: str, data_command: str, stage: Callable[[Setting], PolicyStage],
    pictures: Way | None = "cache",
) -> Recipe:  # fmt: skip
    return Recipe(
        name=name,
        summary=summary,
        data_command=data_command,
        stage=stage,
        batch_size=128,
        pictures=pictures,
        loop=LoopConfig(steps=8000, optim=OptimConfig(lr=1e-3, ema_decay=0.999)),
    )
