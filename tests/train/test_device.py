"""A step of every stage on a device that refuses what lies elsewhere, and in the precision asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from every_stage import STAGES, stage_loop
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from kinema.model.device import Precision
from kinema.schema import KinemaError
from kinema.train.loop import LoopConfig
from kinema.train.optim import Muon, orthogonal


def _strict(out: Path, *checks: str) -> dict[tuple[str, str], str]:
    """What became of checks on the strict device, in a process of their own: nothing, or the fault."""
    script = Path(__file__).with_name("on_strict_device.py")
    done = subprocess.run(
        [sys.executable, str(script), str(out), *checks],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {(check, name): fault for check, name, fault in lines}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    return _strict(tmp_path_factory.mktemp("strict"), "refuses", "is_a_choice", "steps")


@pytest.fixture(scope="module")
def strict_training(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    return _strict(tmp_path_factory.mktemp("training"), "trains", "trains_in_bf16")


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_takes_a_step_on_a_device_that_refuses_mixed_tensors(
    name: str, strict: dict[tuple[str, str], str]
) -> None:
    assert strict["steps", name] == ""


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first of these waits for the process
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_resumes_and_learns_the_same_on_a_device_that_refuses_mixed_tensors(
    name: str, strict_training: dict[tuple[str, str], str]
) -> None:
    assert strict_training["trains", name] == ""
    assert strict_training["trains_in_bf16", name] == ""


@pytest.mark.parametrize("check", ["refuses", "is_a_choice"])
def test_that_device_is_as_strict_as_a_gpu_and_can_be_asked_for(
    check: str, strict: dict[tuple[str, str], str]
) -> None:
    assert strict[check, ""] == ""


@pytest.mark.parametrize("name", ["cuda", "cuda:3", "mps", "xpu", "meta", "vulkan", "gpu", ""])
def test_a_device_that_is_not_here_is_named_with_the_choices(name: str) -> None:
    if name.startswith(("cuda", "mps", "xpu")) and torch.get_device_module(name.split(":")[0]).is_available():
        pytest.skip("it is here")
    with pytest.raises(KinemaError, match=rf"device '{name}'.*: cpu"):
        LoopConfig(steps=1, device=name)


def _with(monkeypatch: pytest.MonkeyPatch, capability: str, **flags: bool) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)


@pytest.mark.parametrize(
    ("capability", "flags", "precision"),
    [
        ("AVX2", {}, "fp32"),
        ("AVX512", {}, "fp32"),  # AVX-512 alone multiplies no bf16
        ("AVX512", {"avx512_bf16": True}, "bf16"),
        ("AVX512", {"amx_bf16": True}, "bf16"),
        ("AVX2", {"avx512_bf16": True}, "fp32"),  # torch was told not to use it
        ("DEFAULT", {"bf16": True}, "fp32"),
    ],
)
def test_precision_follows_the_units_and_can_be_set(
    capability: str, flags: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with(monkeypatch, capability, **flags)
    assert LoopConfig(steps=1).computes_in == precision
    assert LoopConfig(steps=1, precision="bf16").computes_in == "bf16"
    assert LoopConfig(steps=1, precision="fp32").computes_in == "fp32"


class _Bf16(TorchDispatchMode):
    """Counts the operations that give or take bf16."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        found = [x for x in tree_flatten((args, kwargs, out))[0] if isinstance(x, torch.Tensor)]
        self.count += any(x.dtype == torch.bfloat16 for x in found)
        return out


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_computes_in_bf16_on_a_plain_avx2_processor(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _with(monkeypatch, "AVX2")
    loop = stage_loop(name, tmp_path, "cpu", "auto", steps=1)  # what is read may be stored in bf16
    with _Bf16() as seen:
        loop.run()
    assert seen.count == 0
    assert "computing in fp32 on cpu" in capsys.readouterr().err


def test_bf16_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    with _Bf16() as seen:
        loop = stage_loop("policy, read mask", tmp_path, "cpu", "bf16", steps=2)
        loop.run()
    assert seen.count > 0
    assert [part.dtype for part in loop.optimizer.parts if isinstance(part, Muon)] == [torch.bfloat16]


@pytest.mark.parametrize("precision", get_args(Precision))
def test_muon_is_torchs_but_for_rounding(precision: Precision) -> None:
    torch.manual_seed(0)
    begin = [torch.randn(12, 20), torch.randn(20, 12), torch.randn(8, 8)]
    ours, theirs = ([nn.Parameter(matrix.clone()) for matrix in begin] for _ in range(2))
    options: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.1}
    stock = torch.optim.Muon(theirs, **options, adjust_lr_fn="match_rms_adamw")
    optimizers = Muon([{"params": ours, **options}], precision), stock
    for step in range(4):
        for parameters in (ours, theirs):
            generator = torch.Generator().manual_seed(step)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    for mine, other, first in zip(ours, theirs, begin):
        moved = (other - first).norm()
        assert (mine - other).norm() < 0.02 * moved
    states = [optimizer.state_dict() for optimizer in optimizers]
    for mine, other in zip(states[0]["state"].values(), states[1]["state"].values()):
        torch.testing.assert_close(mine, other)


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 99))
def test_newton_schulz_brings_all_singular_values_near_one(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    found = orthogonal(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
    strong = torch.linalg.svdvals(matrix) > 0.02 * matrix.norm()
    values = torch.linalg.svdvals(found)[: int(strong.sum())]
    assert found.dtype == torch.float32
    assert ((values > 0.5) & (values < 1.35)).all()
