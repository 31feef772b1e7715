"""A run on several processes is the run on one: losses, weights, checkpoints and what is exported."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from every_stage import STAGES, stage_loop
from test_new_stage import LINE
from torch import Tensor, nn
from toy_stage import Net, assert_same, toy_loop, weights

from kinema.schema import KinemaError
from kinema.train import checkpoint
from kinema.train.loop import Loop
from kinema.train.parallel import Group, together
from kinema.train.recipe import Options
from kinema.train.run import Run
from kinema.train.shard import blueprint, built, gathered, layers_of, prepare

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
Made = TypeVar("Made")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _on(processes: int, work: Callable[[Group], Made]) -> Made:
    """What `work` returns in the first of so many."""
    with together(processes, work) as group:
        return work(group)


def _losses(loop: Loop[Any]) -> list[dict[str, float]]:
    """What the steps say, once the loop runs."""
    said: list[dict[str, float]] = []
    step = loop._one_step

    def told(stop: Any) -> Any:
        taken = step(stop)
        said.append({**taken.losses, "gradient": taken.grad_norm})
        return taken

    loop._one_step = told  # type: ignore[method-assign]
    return said


def _assert_near(found: list[dict[str, float]], wanted: list[dict[str, float]]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("processes", "parts"), [(2, 2), pytest.param(4, 1, marks=pytest.mark.slow)])
def test_twenty_steps_on_several_processes_are_those_of_one(
    processes: int, parts: int, tmp_path: Path
) -> None:
    def work(group: Group) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        folder = tmp_path / str(group.size)
        loop = toy_loop(folder, group=group, steps=20, save_every=100, accumulate=4 // group.size)
        said = _losses(loop)
        loop.run()
        return said, weights(loop)

    said, found = _on(processes, work)
    alone, wanted = _on(1, work)
    assert len(said) == 20
    _assert_near(said, alone)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("gate", "film detector") else pytest.mark.slow)
        for name in STAGES
        if name != "policy, joint mask"
    ],
)
def test_every_stage_is_sharded_and_learns_the_same(name: str, tmp_path: Path) -> None:
    def work(group: Group) -> list[dict[str, float]]:
        loop = stage_loop(name, tmp_path / str(group.size), group=group, parts=2 // group.size, steps=3)
        said = _losses(loop)
        loop.run()
        return said

    _assert_near(_on(2, work), _on(1, work))


def test_a_checkpoint_of_two_goes_on_on_one_and_back(tmp_path: Path) -> None:
    def work(group: Group, folder: Path, until: int) -> dict[str, Tensor]:
        loop = toy_loop(folder, group=group, accumulate=2 // group.size)
        if checkpoint.stored(folder / "checkpoint"):
            loop.resume()
        loop.run(until=until)
        return weights(loop)

    wanted = _on(2, partial(work, folder=tmp_path / "whole", until=6))
    for processes, until in ((2, 2), (1, 4), (2, 6)):
        found = _on(processes, partial(work, folder=tmp_path / "parts", until=until))
        # loading on another number changes no bit
        same = _on(3 - processes, partial(work, folder=tmp_path / "parts", until=until))
        assert_same(same, found)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


def test_a_rank_that_is_killed_ends_the_run_by_name_and_the_next_one_goes_on_bit_for_bit(
    tmp_path: Path,
) -> None:
    def work(group: Group, folder: Path, dies: bool) -> dict[str, Tensor]:
        loop = toy_loop(folder, group=group)
        if checkpoint.stored(folder / "checkpoint"):
            loop.resume()
        objective = loop.objective

        def killed(batch: Any, generator: torch.Generator) -> Any:
            if dies and group.rank == 2 and loop.step == 3:
                while not checkpoint.stored(folder / "checkpoint"):  # it is written while training goes on
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
            return objective(batch, generator)

        loop.objective = killed
        loop.run()
        return weights(loop)

    with pytest.raises(KinemaError, match=r"process 2 was killed by signal 9; --resume goes on"):
        _on(3, partial(work, folder=tmp_path / "halves", dies=True))
    assert checkpoint.newest(tmp_path / "halves" / "checkpoint").name == "step_000000002"
    found = _on(3, partial(work, folder=tmp_path / "halves", dies=False))
    assert_same(found, _on(3, partial(work, folder=tmp_path / "whole", dies=False)))


def test_processes_hold_shares_that_are_not_alike(tmp_path: Path) -> None:
    ours, theirs = get_context("fork").Pipe()

    def work(group: Group) -> int:
        loop = toy_loop(tmp_path, group=group)
        loop.run(until=1)
        state = checkpoint.state_of(loop.model, loop.ema, loop.optimizer)
        held = sum(value.to_local().numel() for value in state.values() if hasattr(value, "to_local"))
        if not group.is_chief:
            theirs.send(held)
        return held

    with together(2, work) as group:
        held, other = work(group), ours.recv()
    moments = 2 * (6 + 6) + 2 * 36  # AdamW's two of the vectors, Muon's one of the matrices
    assert held + other == 2 * 2 * (36 + 6) + moments
    assert held == other


def test_ranks_that_disagree_are_named(tmp_path: Path) -> None:
    def work(group: Group, **change: Any) -> None:
        options = Options(processes=2, **(change if group.rank else {}))
        Run(LINE, tmp_path, tmp_path, options).begin(group)

    for change, says in (
        ({"seed": 9}, "process 1 is about another run than process 0: seed was 0 and is 9"),
        ({"batch_size": 4}, "batch size was 8 and is 4"),
    ):
        with pytest.raises(KinemaError, match=says):
            _on(2, partial(work, **change))


def test_a_batch_that_is_not_as_large_as_it_is_said_to_be_stops_the_run(tmp_path: Path) -> None:
    loop = toy_loop(tmp_path)
    loop.mixture.origin = lambda part: ["table, row 0"] * 3
    with pytest.raises(KinemaError, match="was to have 4 rows and has 3"):
        loop.run()


@pytest.mark.slow
def test_bf16_is_gathered_and_fp32_reduced(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []

    def work(group: Group) -> tuple[list[dict[str, float]], list[torch.dtype]]:
        loop = stage_loop("policy, read mask", tmp_path, "cpu", "bf16", group=group, parts=1)
        said = _losses(loop)
        layer = next(layers_of(loop.model))
        layer.register_forward_pre_hook(lambda layer, _: seen.append(next(layer.parameters()).dtype))
        loop.run()
        kinds = {value.dtype for value in checkpoint.state_of(loop.model, loop.ema, loop.optimizer).values()}
        return said, [*seen, *kinds]

    said, kinds = _on(2, work)
    assert all(abs(value) < 100 for losses in said for value in losses.values())
    assert set(kinds[:-1]) == {torch.bfloat16}
    assert kinds[-1] == torch.float32


@pytest.mark.parametrize(
    "change", [{"checkpointing": True}, pytest.param({"compiled": True}, marks=pytest.mark.slow)]
)
def test_checkpointed_and_compiled_layers_learn_the_same_under_the_same_names(
    change: dict[str, bool], tmp_path: Path
) -> None:
    def learnt(**change: bool) -> dict[str, Tensor]:
        loop = stage_loop("policy, read mask", tmp_path / str(change), **change)
        loop.run()
        return weights(loop)

    found, wanted = learnt(**change), learnt()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=2e-4)


def test_a_network_is_built_again_from_its_shares() -> None:
    class Tied(Net):
        def __init__(self) -> None:
            super().__init__()
            self.same = self.inner.blocks[0].weight
            self.register_buffer("kept", torch.arange(3.0))
            self.register_buffer("scratch", torch.arange(2.0), persistent=False)

    def work(group: Group) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = Net()
        prepare(model, list(layers_of(model)), group, torch.device("cpu"), "fp32")
        return gathered(dict(model.named_parameters()), group)

    torch.manual_seed(0)
    model = Tied()
    plain = blueprint(model)
    assert all(parameter.is_meta for parameter in plain.parameters())
    weights = _on(2, work)
    weights["same"] = weights.pop("inner.blocks.0.weight")
    again = built(plain, {**weights, "kept": model.kept})
    assert again.same is again.inner.blocks[0].weight
    assert torch.equal(again(torch.ones(1, 6)), model(torch.ones(1, 6)))
    assert torch.equal(again.scratch, model.scratch)
    assert copy.deepcopy(again).same is not again.same


def test_a_trained_number_is_refused_by_name() -> None:
    def work(group: Group) -> None:
        model = Net()
        model.loudness = nn.Parameter(torch.ones(()))
        prepare(model, list(layers_of(model)), group, torch.device("cpu"), "fp32")

    with pytest.raises(KinemaError, match="loudness is trained and a single number"):
        _on(2, work)


@pytest.mark.slow
def test_torchrun_starts_it_and_goes_on_after_a_kill_as_if_nothing_had_been(tmp_path: Path) -> None:
    def start(out: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", *arguments, "--steps", "30", "--out", str(tmp_path / out)]
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    torchrun = ("torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1", "-m")
    agent = start("torchrun", *torchrun, "kinema", "train", "debug")
    while not checkpoint.stored(tmp_path / "torchrun" / "checkpoint") and agent.poll() is None:
        time.sleep(0.1)
    for child in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split():
        if b"RANK=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            os.kill(int(child), signal.SIGKILL)
    _, said = agent.communicate(timeout=200)
    assert agent.returncode == 0
    assert "exitcode: -9) local_rank: 1" in said
    forked = start("forked", "kinema", "train", "debug", "--processes", "2")
    forked.communicate(timeout=200)
    one, other = (
        (tmp_path / out / "artifact" / "weights.safetensors").read_bytes() for out in ("torchrun", "forked")
    )
    assert one == other
