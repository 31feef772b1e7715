"""What every trained artifact says of the run that made it; each kind adds what it was made of."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import Any, Protocol

from torch import nn

import kinema
from kinema.train.loop import Loop, LoopConfig


class StageConfig(Protocol):
    """The settings of one run of a stage."""

    @property
    def name(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def loop(self) -> LoopConfig: ...
    @property
    def threads(self) -> int: ...


def trained(config: StageConfig, loop: Loop[Any], model: nn.Module, commit: str | None) -> dict[str, Any]:
    """Recipe, version, commit, steps, time, seed, machine and size. commit: of the source, if known."""
    return {
        "recipe": config.name,
        "kinema": kinema.__version__,
        "commit": commit,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "steps": loop.step,
        "samples": loop.step * config.batch_size,
        "batch_size": config.batch_size,
        "train_s": round(loop.elapsed_s, 1),
        "seed": config.loop.seed,
        "hardware": f"{platform.machine()}, {config.threads} thread(s), device {config.loop.device}",
        "parameters": sum(p.numel() for p in model.parameters()),
    }
