"""A recipe: what is trained, on which data and how long; and what the command line may change of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

import torch

from kinema.data.clipping import MOST_CLIPPED
from kinema.data.frames import Way
from kinema.model.device import AskedPrecision
from kinema.schema import KinemaError
from kinema.train import trackers
from kinema.train.loop import LoopConfig
from kinema.train.optim import Rule, freeze
from kinema.train.parallel import launched
from kinema.train.stage import Named, Setting, Stage, Words


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run as a value. summary: one line; data_command: what makes the data that the stage looks for.

    pictures: how those of data sets are read (`data/frames.py`); None: it reads none
    is_told: whether data and network are named by whoever starts it (`Named`)
    """

    name: str
    summary: str
    data_command: str
    stage: Callable[[Setting], Stage[Any, Any]]
    batch_size: int
    loop: LoopConfig
    pictures: Way | None = "cache"
    is_told: bool = False

    def build(self, setting: Setting) -> Stage[Any, Any]:
        """The stage, with what is frozen marked; its first weights follow from the seed."""
        torch.manual_seed(setting.seed)
        stage = self.stage(setting)
        freeze(stage.model, self.loop.optim.rules)
        return stage

    def rows(self, processes: int) -> int:
        """Of a part of a batch that so many share. Raises KinemaError where it cannot be shared so."""
        parts = self.loop.accumulate
        if self.batch_size % (processes * parts):
            each = f" in {parts} parts each" if parts > 1 else ""
            raise KinemaError(f"a batch of {self.batch_size} cannot be shared by {processes} processes{each}")
        return self.batch_size // (processes * parts)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run may have of its own, whatever its recipe. None: as the recipe says.

    init, words, most_clipped: as in `Setting`; resume: go on from the newest checkpoint
    threads: of each of the processes, which share every batch; these are torchrun's, or forked
    checkpointing, compile: of the network's layers (`shard.py`)
    accumulate: parts that each of them takes its share in, one after the other
    average: whether the weights that ship are an average; rules: after the recipe's (`optim.py`)
    evaluate_every: judge every so many steps, and log it; 0: never
    workers: that make batches ahead, of each process
    trackers: that get the curves, by name (`trackers.py`)
    named: data, card, backbone and adapters of a recipe that is told them
    """

    steps: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    seed: int | None = None
    accumulate: int = 1
    lr_scale: float = 1.0
    rules: tuple[Rule, ...] = ()
    average: bool = True
    device: str = "cpu"
    precision: AskedPrecision = "auto"
    threads: int = 1
    processes: int = field(default_factory=launched)
    checkpointing: bool = False
    compile: bool = False
    resume: bool = False
    init: Path | None = None
    words: Words = "init"
    most_clipped: float = MOST_CLIPPED
    evaluate_every: int = 0
    pictures: Way | None = None
    workers: int = 0
    trackers: tuple[str, ...] = ("tensorboard",)
    named: Named = field(default_factory=Named)

    def __post_init__(self) -> None:
        for name, word, choices in (
            ("precision", self.precision, get_args(AskedPrecision)),
            ("pictures", self.pictures, get_args(Way)),
            ("words", self.words, get_args(Words)),
        ):
            if word is not None and word not in choices:
                raise KinemaError(f"--{name} must be one of {', '.join(choices)}; got {word!r}")
        trackers.check(self.trackers)
        if launched() not in (1, self.processes):
            raise KinemaError(f"torchrun has started {launched()} processes; leave --processes out")
        if self.processes > launched() and self.device != "cpu":
            raise KinemaError(
                f"--processes {self.processes} share a CPU; with --device {self.device}: "
                f"torchrun --nproc-per-node {self.processes} -m kinema train …"
            )
        if self.steps is not None and self.minutes is not None:  # the steps would not be heeded
            raise KinemaError("--steps and --minutes are two ways to say the same thing; give one of them")

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe as it is asked for here."""
        if self.named != Named() and not recipe.is_told:
            told = [f.name for f in fields(Named) if getattr(self.named, f.name) != f.default]
            raise KinemaError(
                f"{recipe.name} has its own data and network; {', '.join(told)} can be told to `nano` or "
                "`finetune`"
            )
        optim = recipe.loop.optim.scaled(self.lr_scale)
        optim = replace(
            optim, rules=(*optim.rules, *self.rules), ema_decay=optim.ema_decay if self.average else None
        )
        loop = replace(
            recipe.loop, device=self.device, precision=self.precision, evaluate_every=self.evaluate_every,
            accumulate=self.accumulate, optim=optim,
        )  # fmt: skip
        if self.steps is not None:
            loop = replace(loop, steps=self.steps, budget_s=None)
        if self.minutes is not None:
            loop = replace(loop, budget_s=60 * self.minutes)
        if self.seed is not None:
            loop = replace(loop, seed=self.seed)
        batch_size = recipe.batch_size if self.batch_size is None else self.batch_size
        if self.pictures is not None and recipe.pictures is None:
            raise KinemaError(f"--pictures {self.pictures}: {recipe.name} reads no pictures of data sets")
        asked = replace(recipe, loop=loop, batch_size=batch_size, pictures=self.pictures or recipe.pictures)
        asked.rows(self.processes)
        return asked
