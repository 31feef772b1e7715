"""What every run says of itself: in its checkpoints, to be compared, and in the artifact that it made."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

from torch import nn

import kinema
from kinema.card.card import EmbodimentCard
from kinema.train.loop import Loop, LoopConfig
from kinema.train.record import DataPart, RunRecord, digest, machine


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


def recorded(
    config: StageConfig, network: Any, data: Sequence[DataPart], *, cards: Iterable[EmbodimentCard] = (),
    assets: Mapping[str, bytes] | None = None, fixed: Mapping[str, Any] | None = None,
    noted: Mapping[str, Any] | None = None,
) -> RunRecord:  # fmt: skip
    """A run's record. network: its configuration; fixed, noted: what the stage adds to them."""
    loop = config.loop
    return RunRecord(
        fixed={
            "recipe": config.name,
            "seed": loop.seed,
            "batch size": config.batch_size,
            "precision": loop.computes_in,
            "muon": loop.optim.matrix_lr is not None,
            "network": network,
            "cards": {card.name: digest(card.model_dump_json()) for card in cards},
            **(fixed or {}),
        },
        noted={
            "steps": loop.steps,
            "budget_s": loop.budget_s,
            "optimizer": asdict(loop.optim),
            "device": loop.device,
            "threads": config.threads,
            "processes": getattr(config, "processes", 1),
            **machine(),
            **(noted or {}),
        },
        data=tuple(data),
        assets=assets or {},
    )


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
        "precision": loop.precision,
        "hardware": f"{platform.machine()}, {config.threads} thread(s), device {config.loop.device}",
        "parameters": sum(p.numel() for p in model.parameters()),
    }
