"""A stage of a few hundred weights, so that a run takes milliseconds; both optimisers have a part in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

from kinema.data.stream import StreamState
from kinema.train import checkpoint, shard
from kinema.train.loop import Loop, LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.parallel import Group
from kinema.train.record import DataPart, RunRecord


@dataclass(frozen=True, kw_only=True)
class Numbers:
    x: Tensor  # (B, 6)

    def __len__(self) -> int:
        return len(self.x)


class NumberStream:
    """Rows of a table, drawn by seed and count; every process draws its own, for every part."""

    batch_size = 4

    def __init__(self, table: Tensor, group: Group, parts: int = 1) -> None:
        self.table, self.group, self.parts = table, group, parts
        self.state = StreamState(seed=0, drawn=0)

    def draw(self, part: int = 0) -> Numbers:
        rows = self._rows(self.state.drawn, part)
        if part == self.parts - 1:
            self.state = replace(self.state, drawn=self.state.drawn + 1)
        return Numbers(x=self.table[rows])

    def origin(self, part: int = 0) -> list[str]:
        return [f"table, row {row}" for row in self._rows(self.state.drawn - 1, part)]

    def _rows(self, drawn: int, part: int) -> np.ndarray:
        rng = np.random.default_rng([self.state.seed, drawn, self.group.rank * self.parts + part])
        return rng.integers(0, len(self.table), self.batch_size)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.inner.blocks = nn.ModuleList([nn.Linear(6, 6) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.inner.blocks:
            x = x + block(x).tanh()
        return x


class Objective:
    def __init__(self, model: Net) -> None:
        self.model = model

    def __call__(self, batch: Numbers, generator: torch.Generator) -> Mapping[str, Tensor]:
        noise = torch.randn(batch.x.shape, generator=generator)
        out = self.model(batch.x + 0.1 * noise)
        return {"fit": (out - batch.x.roll(1, -1)).square().mean(), "size": out.square().mean()}


def toy_loop(
    out: Path, *, table: Tensor | None = None, group: Group | None = None,
    prepare: Callable[[nn.Module], None] = lambda model: None, **loop: Any,
) -> Loop[Any]:  # fmt: skip
    """A loop of six steps, always the same."""
    torch.manual_seed(0)
    model = Net()
    prepare(model)
    if table is None:
        table = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    config = LoopConfig(
        **{"steps": 6, "log_every": 3, "save_every": 2, "precision": "fp32",
           "optim": OptimConfig(warmup_steps=2, ema_decay=0.9), **loop}
    )  # fmt: skip
    record = RunRecord(
        fixed={"recipe": "toy", "seed": config.seed},
        noted={"steps": config.steps},
        data=[DataPart(name="table", rows=len(table), digest=str(table.sum().item()))],
        assets={"words.json": b"{}"},
    )
    group = group or Group()
    if dist.is_initialized():
        shard.prepare(model, list(shard.layers_of(model)), group, torch.device("cpu"), "fp32", units_from=0)
    stream = NumberStream(table, group, config.accumulate)
    return Loop(model, Objective(model), {"fit": 1.0, "size": 0.1}, stream, config, out, group, record)


def weights(loop: Loop[Any]) -> dict[str, Tensor]:
    """Weights, averages and optimiser state by name."""
    state = checkpoint.state_of(loop.model, loop.ema, loop.optimizer)
    return {name: shard.whole(value).clone() for name, value in state.items()}


def assert_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


@contextmanager
def watched(loop: Loop[Any], happens: Callable[[str], None]) -> Iterator[None]:
    """Calls `happens` before and after everything that a step and a save do, which have a thread each."""

    undo: list[tuple[Any, str, Any]] = []
    one_at_a_time = RLock()

    def told(name: str) -> None:
        with one_at_a_time:
            happens(name)

    def watch(owner: Any, name: str, shown: str) -> None:
        before = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            told(f"before {shown}")
            result = before(*args, **kwargs)
            told(f"after {shown}")
            return result

        undo.append((owner, name, before))
        setattr(owner, name, call)

    watch(loop.mixture, "draw", "draw")
    watch(loop, "objective", "objective")
    watch(loop.group.__class__, "average", "average")
    for part in loop.optimizer.parts:
        watch(part, "step", type(part).__name__)
    watch(loop.ema, "update", "average of weights")
    watch(dcp, "async_save", "save")
    watch(HuggingFaceStorageWriter, "write_data", "write")
    for name in ("flush", "flush_one", "_discard"):
        watch(checkpoint, name, name)
    watch(Path, "rename", "rename")
    try:
        yield
    finally:
        for owner, name, before in reversed(undo):
            setattr(owner, name, before)
