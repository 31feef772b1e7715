"""Small runs that differ in one choice, to see what it brings when it acts: Panda, two families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from kinema.data.frames import Way
from kinema.data.source import Source
from kinema.model.policy import presets
from kinema.model.policy.action_dit import Mask
from kinema.model.policy.policy import PolicyConfig
from kinema.recipes.sources import dream_sources, made_sources
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Recipe
from kinema.train.stages.policy import PolicyStage

_MAKE = "kinema data make tabletop --robots panda --families pick_place,button"
_MANY = f"{_MAKE} --episodes 250 --out data/study"
_TEN = f"{_MAKE} --episodes 10 --out data/study10"


def study_base() -> Recipe:
    """Pointing head, cached mask."""
    return _study("study_base", "cached mask, pointing head", partial(_mask, "cached"))


def study_no_pointing() -> Recipe:
    """Without the pointing head, its two losses and its decoder tokens."""
    return _study("study_no_pointing", "no pointing head", _no_pointing)


def study_joint_mask() -> Recipe:
    """Context tokens see the noisy actions and the flow time, and are computed anew at every Euler step."""
    return _study("study_joint_mask", "the decoder's joint mask", partial(_mask, "joint"))


def study_read_mask() -> Recipe:
    """Context tokens stay as the backbone made them; the decoder's blocks only read them."""
    return _study("study_read_mask", "the decoder's read mask", partial(_mask, "read"))


def study_real10() -> Recipe:
    """Ten demonstrations of each task and nothing else."""
    ten = partial(made_sources, image_size=96, which="study10")
    return _study("study_real10", "ten demonstrations a task", partial(_mask, "read"), ten, _TEN)


def study_real10_dreams() -> Recipe:
    """The same ten demonstrations, and dreams of new scenes; half of every batch from each."""
    return _study(
        "study_real10_dreams", "the same and dreams", partial(_mask, "read"), _ten_and_dreams,
        f"{_TEN}, then kinema dream --families pick_place,button --episodes 100",
    )  # fmt: skip


def _ten_and_dreams(data: Path, pictures: Way) -> list[Source]:
    real = made_sources(data, pictures, image_size=96, which="study10")
    dreams = dream_sources(data, pictures, image_size=96)
    return real + [replace(source, weight=len(real) / len(dreams)) for source in dreams]


def _nano(vocab_size: int) -> PolicyConfig:
    """Without given prefixes: they are about latency, which is not studied here."""
    config = presets.nano(vocab_size)
    return replace(config, decoder=replace(config.decoder, prefix=0))


def _no_pointing(vocab_size: int) -> PolicyConfig:
    return replace(_nano(vocab_size), points=0)


def _mask(mask: Mask, vocab_size: int) -> PolicyConfig:
    config = _nano(vocab_size)
    return replace(config, decoder=replace(config.decoder, mask=mask))


def _study(
    name: str, what: str, policy: Callable[[int], PolicyConfig],
    sources: Callable[[Path, Way], list[Source]] = partial(made_sources, image_size=96, which="study"),
    data_command: str = _MANY,
) -> Recipe:  # fmt: skip
    return Recipe(
        name=name,
        summary=f"the small study: {what}",
        data_command=data_command,
        stage=partial(PolicyStage, policy=policy, sources=sources),
        batch_size=64,
        loop=LoopConfig(steps=1000, optim=OptimConfig(lr=1e-3, ema_decay=0.995)),
    )
