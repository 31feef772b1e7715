"""A plan's bytes are those that a run takes, of every stage; what does not fit is refused with a mend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from every_stage import SETTING, STAGES
from test_new_stage import LINE
from torch import Tensor

from kinema import recipes
from kinema.data.stream import Feed
from kinema.model.policy import presets
from kinema.model.policy.policy import Policy
from kinema.schema import KinemaError
from kinema.train.optim import Rule
from kinema.train.plan import Kept, Plan, _looked_at, plan
from kinema.train.recipe import Options
from kinema.train.run import Run


def _planned(out: Path, ranks: int = 1, **options: object) -> Plan:
    return plan(recipes.get("debug"), out, out, Options(**options), ranks=ranks, precision="fp32")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(STAGES))
def test_what_a_step_of_any_stage_keeps_is_known_without_memory(name: str) -> None:
    stage, rows = STAGES[name]()
    kept: dict[int, Tensor] = {}
    own = {id(tensor) for tensor in stage.model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in own:
            kept[id(base)] = base
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = stage(stage.stream(Feed(batch_size=rows)).draw(), torch.Generator().manual_seed(0))
    real = sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
    del losses
    stage, rows = STAGES[name]()
    stage.model.to("meta")
    found = _looked_at(stage, rows, "fp32")
    assert found.kept == pytest.approx(real, rel=0.1)  # kernels of a device keep a little of their own
    assert found.recomputed <= found.kept
    assert _looked_at(stage, rows, "bf16").kept < found.kept
    assert found.flops > 0


def test_the_bytes_of_a_plan_are_those_of_the_run(tmp_path: Path) -> None:
    found = _planned(tmp_path)
    loop = Run(recipes.get("debug"), tmp_path, tmp_path / "run", Options(precision="fp32")).begin()
    loop.run(until=1)
    moments = [v for part in loop.optimizer.parts for entry in part.state.values() for v in entry.values()]
    real = {
        "weights": list(loop.model.parameters()),
        "gradients": [p for p in loop.model.parameters() if p.requires_grad],
        "moments": [v for v in moments if torch.is_tensor(v) and v.ndim],
        "average": list(loop.ema.weights.values()),
    }
    bytes_of = {name: sum(t.numel() * t.element_size() for t in tensors) for name, tensors in real.items()}
    assert found.state == bytes_of
    assert sum(found.parts.values()) == sum(p.numel() for p in loop.model.parameters())
    shared = _planned(tmp_path, ranks=4)
    assert shared.state == {name: size / 4 for name, size in bytes_of.items()}
    assert (shared.rows, _planned(tmp_path, ranks=4, accumulate=2).rows) == (4, 2)


def test_what_is_frozen_and_not_averaged_needs_less(tmp_path: Path) -> None:
    whole = _planned(tmp_path)
    less = _planned(tmp_path, rules=(Rule(pattern="backbone.*", frozen=True),), average=False)
    backbone = sum(n for name, n in whole.parts.items() if name.startswith("backbone"))
    assert less.trained == whole.trained - backbone
    assert less.state["gradients"] == 4 * less.trained
    assert less.state["average"] == 0
    assert less.state["weights"] == whole.state["weights"]
    assert less.kept.each < whole.kept.each


def test_a_plan_allocates_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    made = Policy.__init__

    def watched(self: Policy, *told: object) -> None:
        made(self, *told)  # type: ignore[arg-type]
        seen.extend(parameter.device.type for parameter in self.parameters())

    monkeypatch.setattr(Policy, "__init__", watched)
    _planned(tmp_path)
    assert set(seen) == {"meta"}
    assert replace(SETTING, is_planned=True).empty() == torch.device("meta")


_PLAN = Plan(
    recipe="line", parts={"its own": 100}, trained=100, whole=4.0, flops=6.0, ranks=1, accumulate=1,
    batch_size=8, steps=3, state={"weights": 40.0}, kept=Kept(each=10.0, fixed=5.0),
    recomputed=Kept(each=1.0, fixed=5.0),
    precision="fp32",
)  # fmt: skip


def test_the_largest_batch_fits_and_one_row_more_does_not() -> None:
    memory = 100.0  # of which a tenth stays free
    assert _PLAN.needs() == 125
    assert _PLAN.most_rows(memory) == 4  # 40 + 5 + 4 * 10 <= 90
    assert _PLAN.most_rows(memory, recompute=True) == 45
    assert _PLAN.most_rows(49.0) == 0
    _PLAN.check(200.0)
    _PLAN.check(memory, recompute=True)


@pytest.mark.parametrize(
    ("memory", "says"),
    [
        (100.0, "4 rows at a time fit: --accumulate 2"),
        (50.0, "share it among 2 GPUs"),
        (15.0, "not even one row"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would_help(memory: float, says: str) -> None:
    with pytest.raises(KinemaError, match=says):
        _PLAN.check(memory)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match="a batch of 16 cannot be shared by 3 processes in 2 parts each"):
        plan(recipes.get("debug"), tmp_path, tmp_path, Options(accumulate=2), ranks=3, precision="fp32")


def test_a_stage_of_anybody_s_is_planned(tmp_path: Path) -> None:
    found = plan(LINE, tmp_path, tmp_path, Options(), ranks=2, precision="bf16")
    assert (found.parts, found.trained, found.steps) == ({"its own": 2}, 2, 60)
    assert ("samples", "480 in 60 steps") in found.table()


def test_the_published_size_is_counted_as_published() -> None:
    with torch.device("meta"):
        model = Policy(presets.base())
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(5.704e9, rel=1e-3)
