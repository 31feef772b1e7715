"""A recipe: which data, which network, which training. A run is a Python function returning this value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kinema.data.source import Source
from kinema.train.run import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """summary: one line for `kinema train --help`. data_command: what makes the data `sources` reads."""

    name: str
    summary: str
    train: TrainConfig
    sources: Callable[[Path], list[Source]]  # from the data folder
    data_command: str
