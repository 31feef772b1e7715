"""What a run would need, before anything is allocated: its network and a step of it on the meta device.

Bytes are of one of the ranks that share weights, gradients, moments and averages evenly. What the backward
pass keeps is counted on two small batches; it grows evenly with the rows. Not counted are an allocator's gaps
and kernels' workspace, for which a tenth of the memory is left free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kinema.data.stream import Feed
from kinema.model.device import Precision
from kinema.model.footprint import Footprint, footprint, parts_of, size_of
from kinema.schema import KinemaError
from kinema.train.optim import Optimizer
from kinema.train.recipe import Options, Recipe
from kinema.train.stage import Setting, Stage

_USED = 0.9  # of the memory
_ROWS = (2, 4)  # of the batches that are looked at
_FP32, _BF16 = 4, 2  # bytes
_MOMENTS = {"AdamW": 2 * _FP32}  # of a parameter; Muon has one


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Bytes that the backward pass of a part of a batch keeps: of each row, and whatever their number."""

    each: float
    fixed: float

    def of(self, rows: float) -> float:
        return self.fixed + self.each * rows


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a recipe needs. parts: parameters by module; state: bytes of a rank by kind; steps: None by time.

    recomputed: kept where layers are computed again instead (checkpointing); whole: bytes of what a rank must
    have whole at once of weights and gradients that are shared; flops: of a row, forward and backward
    """

    recipe: str
    parts: Mapping[str, int]
    trained: int
    state: Mapping[str, float]
    kept: Kept
    recomputed: Kept
    whole: float
    flops: float
    ranks: int
    accumulate: int
    batch_size: int
    steps: int | None
    precision: Precision

    @property
    def rows(self) -> int:
        """Of a part, in one rank."""
        return self.batch_size // (self.ranks * self.accumulate)

    @property
    def fixed(self) -> float:
        """Bytes of one rank, whatever the batch."""
        return sum(self.state.values()) + (self.whole if self.ranks > 1 else 0.0)

    def needs(self, *, recompute: bool = False) -> float:
        """Bytes in all of one rank."""
        return self.fixed + (self.recomputed if recompute else self.kept).of(self.rows)

    def most_rows(self, memory: float, *, recompute: bool = False) -> int:
        """Rows of a part that so many bytes hold; 0 where not even one fits."""
        kept = self.recomputed if recompute else self.kept
        left = _USED * memory - self.fixed - kept.fixed
        return max(0, int(left // kept.each))

    def check(self, memory: float, *, recompute: bool = False) -> None:
        """Raise KinemaError, with what would help, where it does not fit."""
        needed, most = self.needs(recompute=recompute), self.most_rows(memory, recompute=recompute)
        if needed <= _USED * memory:
            return
        said = f"{self.recipe} does not fit: a GPU of {memory / 1e9:.4g} GB would hold {needed / 1e9:.3g} GB"
        if most:
            parts = next(n for n in range(1, self.rows + 1) if self.rows / n <= most)
            raise KinemaError(f"{said}; {most} rows at a time fit: --accumulate {self.accumulate * parts}")
        shared = sum(self.state.values()) * self.ranks
        room = _USED * memory - self.whole - (self.recomputed if recompute else self.kept).of(1)
        more = f"share it among {int(-(-shared // room))} GPUs" if room > 0 else "not even one row fits"
        raise KinemaError(f"{said}; {more}")

    def table(self, memory: float | None = None) -> list[tuple[str, str]]:
        """What is said of it, as pairs of words."""
        said = [(f"parameters: {name}", _count(number)) for name, number in self.parts.items()]
        said += [("parameters in all", _count(sum(self.parts.values()))), ("trained", _count(self.trained))]
        of = f" of each of {self.ranks}" if self.ranks > 1 else ""
        said += [(f"{name}{of}", _gb(size)) for name, size in self.state.items()]
        if self.ranks > 1:
            said.append(("layers that are whole at once", _gb(self.whole)))
        parts = f" in {self.accumulate} parts" if self.accumulate > 1 else ""
        said += [
            (f"kept for the backward pass, {self.rows} rows, {self.precision}", _gb(self.kept.of(self.rows))),
            ("the same, layers computed again", _gb(self.recomputed.of(self.rows))),
            ("in all", f"{_gb(self.needs())}, or {_gb(self.needs(recompute=True))}"),
            ("batch", f"{self.batch_size} rows: {self.ranks} x {self.batch_size // self.ranks}{parts}"),
        ]
        if self.steps is not None:
            samples = self.steps * self.batch_size
            said.append(("samples", f"{samples:,} in {self.steps:,} steps"))
            said.append(("arithmetic of a row, of all", f"{self.flops:.3g}, {self.flops * samples:.3g} FLOP"))
        if memory is not None:
            most = [self.most_rows(memory, recompute=again) * self.ranks for again in (False, True)]
            said.append(
                (f"largest batch on {memory / 1e9:.4g} GB each", f"{most[0]}, or {most[1]} computed again")
            )
        return said


def plan(
    recipe: Recipe, data: Path, out: Path, options: Options, *, ranks: int, precision: Precision
) -> Plan:
    """Of a recipe under these options, shared by so many ranks that compute in this precision.

    Raises KinemaError where the batch cannot be shared so, and whatever the stage raises of its data.
    """
    asked = options.of(recipe)
    asked.rows(ranks)
    stage = asked.build(
        Setting(
            data=data, out=out, seed=asked.loop.seed, init=options.init, named=options.named,
            most_clipped=1.0, pictures="decode", is_planned=True,
        )
    )  # fmt: skip
    model = stage.model.to("meta")
    optimizer = Optimizer(model, asked.loop.optim, "bf16")
    few, many = (_looked_at(stage, rows, precision) for rows in _ROWS)
    return Plan(
        recipe=recipe.name,
        parts=dict(parts_of(model)),
        trained=size_of(p for p in model.parameters() if p.requires_grad),
        state=_state(model, optimizer, asked.loop.optim.ema_decay is not None, ranks, precision),
        whole=_whole(model, stage.layers(), precision),
        kept=_kept(few.kept, many.kept),
        recomputed=_kept(few.recomputed, many.recomputed),
        flops=3
        * (many.flops - few.flops)
        / (_ROWS[1] - _ROWS[0]),  # the backward pass takes twice the forward
        ranks=ranks,
        accumulate=options.accumulate,
        batch_size=asked.batch_size,
        steps=None if asked.loop.budget_s is not None else asked.loop.steps,
        precision=precision,
    )


def _state(
    model: nn.Module, optimizer: Optimizer, averaged: bool, ranks: int, precision: Precision
) -> dict[str, float]:
    trained = size_of(p for p in model.parameters() if p.requires_grad)
    moments = sum(
        _MOMENTS.get(type(part).__name__, _FP32) * size_of(p for g in part.param_groups for p in g["params"])
        for part in optimizer.parts
    )
    found = {
        "weights": _FP32 * size_of(model.parameters()) / ranks,
        "gradients": _FP32 * trained / ranks,
        "moments": moments / ranks,
        "average": _FP32 * trained * averaged / ranks,
    }
    if ranks == 1 and precision == "bf16":
        found["weights in bf16"] = _BF16 * size_of(model.parameters())
    return found


def _whole(model: nn.Module, layers: Sequence[nn.Module], precision: Precision) -> float:
    """A layer is whole while it computes and the next one comes; what is in no layer stays whole."""
    sizes = [size_of(layer.parameters()) for layer in layers]
    at_once = size_of(model.parameters()) - sum(sizes) + 2 * max(sizes, default=0)
    return 2 * (_BF16 if precision == "bf16" else _FP32) * at_once  # weights and their gradients


def _kept(few: int, many: int) -> Kept:
    each = (many - few) / (_ROWS[1] - _ROWS[0])
    return Kept(each=each, fixed=max(0.0, few - _ROWS[0] * each))


def _looked_at(stage: Stage[Any, Any], rows: int, precision: Precision) -> Footprint:
    batch, generator = stage.stream(Feed(batch_size=rows)).draw(), torch.Generator().manual_seed(0)
    return footprint(stage.model, stage.layers(), lambda: stage(batch, generator), precision)


def _count(number: int) -> str:
    return f"{number / 1e6:,.4g} M" if number < 1e9 else f"{number / 1e9:,.4g} B"


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
