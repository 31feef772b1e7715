"""A stage of a few hundred weights, so that a run takes milliseconds; both optimisers have a part in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kinema.data.mixture import MixtureState
from kinema.train import checkpoint
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
    """Rows of a table, drawn by seed and count; every process draws its own."""

    batch_size = 4

    def __init__(self, table: Tensor, group: Group) -> None:
        self.table, self.group = table, group
        self.state = MixtureState(seed=0, drawn=0)
        self._rows = np.zeros(0, int)

    def draw(self, part: int = 0) -> Numbers:
        rng = np.random.default_rng([self.state.seed, self.state.drawn, self.group.rank])
        self.state = replace(self.state, drawn=self.state.drawn + 1)
        self._rows = rng.integers(0, len(self.table), self.batch_size)
        return Numbers(x=self.table[self._rows])

    def origin(self, part: int = 0) -> list[str]:
        return [f"table, row {row}" for row in self._rows]


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
    stream = NumberStream(table, group)
    return Loop(model, Objective(model), {"fit": 1.0, "size": 0.1}, stream, config, out, group, record)


def weights(loop: Loop[Any]) -> dict[str, Tensor]:
    """Weights, averages and optimiser state by name."""
    found = {f"model.{k}": v.detach().clone() for k, v in loop.model.state_dict().items()}
    found |= {f"ema.{k}": v.clone() for k, v in loop.ema.weights.items()}
    return found | checkpoint._flatten(loop.optimizer)


def assert_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


@contextmanager
def watched(loop: Loop[Any], happens: Callable[[str], None]) -> Iterator[None]:
    """Calls `happens` before and after everything that a step and a save do."""

    undo: list[tuple[Any, str, Any]] = []

    def watch(owner: Any, name: str, shown: str) -> None:
        before = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            happens(f"before {shown}")
            result = before(*args, **kwargs)
            happens(f"after {shown}")
            return result

        undo.append((owner, name, before))
        setattr(owner, name, call)

    watch(loop.mixture, "draw", "draw")
    watch(loop, "objective", "objective")
    watch(loop.group.__class__, "average", "average")
    for part in loop.optimizer.parts:
        watch(part, "step", type(part).__name__)
    watch(loop.ema, "update", "average of weights")
    for name in ("save_file", "flush", "flush_one", "_discard"):
        watch(checkpoint, name, name)
    watch(Path, "rename", "rename")
    try:
        yield
    finally:
        for owner, name, before in reversed(undo):
            setattr(owner, name, before)
