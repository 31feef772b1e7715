"""Checkpoints are written while training goes on: each is the state of its step; what fails ends the run."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from toy_stage import assert_same, toy_loop, weights

from kinema.schema import KinemaError
from kinema.train import checkpoint
from kinema.train.loop import Loop
from kinema.train.parallel import Group, together

Made = TypeVar("Made")
HANGS_S = 60.0  # waited for what would never come if the law did not hold
FORKED = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
on_one_and_two = pytest.mark.parametrize("processes", [1, pytest.param(2, marks=FORKED)])


def _on(processes: int, work: Callable[[Group], Made]) -> Made:
    torch.set_num_threads(1)
    with together(processes, work) as group:
        return work(group)


@contextmanager
def _writing(happens: Callable[[str], None]) -> Iterator[None]:
    """Before this process writes a shard, in the writing thread; told the name of the checkpoint."""
    write = checkpoint._Writer.write_data

    def told(writer: Any, *args: Any) -> Any:
        happens(writer.path.stem)
        return write(writer, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint._Writer, "write_data", told)
        yield


def _taking(loop: Loop[Any], happens: Callable[[int], None]) -> None:
    """Before a step changes anything; told how many were taken."""
    objective = loop.objective

    def told(batch: Any, generator: torch.Generator) -> Any:
        happens(loop.step)
        return objective(batch, generator)

    loop.objective = told


def _trained(group: Group, folder: Path) -> dict[str, Tensor]:
    """What a run ends with that goes on from what there is, or begins."""
    loop = toy_loop(folder, group=group)
    if checkpoint.stored(loop.checkpoints):
        loop.resume()
    loop.run()
    return weights(loop)


@on_one_and_two
def test_what_is_saved_is_the_state_of_its_step_although_the_next_one_was_taken_meanwhile(
    processes: int, tmp_path: Path
) -> None:
    def trained(group: Group) -> dict[str, Tensor]:
        loop, next_taken, at_two = toy_loop(tmp_path, group=group), Event(), {}

        def before(step: int) -> None:
            if step == 2:
                at_two.update(weights(loop))
            if step == 3:
                assert not checkpoint.stored(loop.checkpoints)
                next_taken.set()

        _taking(loop, before)
        with _writing(lambda _: next_taken.wait(HANGS_S)):
            loop.run(until=4)
        return at_two

    def loaded(group: Group) -> tuple[int, dict[str, Tensor]]:
        loop = toy_loop(tmp_path, group=group)
        loop.resume()
        return loop.step, weights(loop)

    wanted = _on(processes, trained)
    last, _ = checkpoint.stored(tmp_path / "checkpoint")
    last.rename(tmp_path / "away")
    for loading in {1, processes}:
        step, found = _on(loading, loaded)
        assert step == 2
        assert_same(found, wanted)
    assert not dist.is_initialized()  # one process alone needs none of it


@on_one_and_two
@pytest.mark.parametrize("has_room_again", [False, True])
def test_a_disk_that_fills_ends_the_run_at_the_next_step_and_the_last_checkpoint_stays(
    has_room_again: bool, processes: int, tmp_path: Path
) -> None:
    def fills(group: Group) -> None:
        loop = toy_loop(tmp_path / "filled", group=group)

        def full(name: str) -> None:
            if (
                group.rank == processes - 1
                and name > "step_000000002"
                and not (has_room_again and name > "step_000000004")
            ):
                raise OSError(errno.ENOSPC, "No space left on device")

        def before(step: int) -> None:
            while step == 4 and not loop.saver.failed:
                time.sleep(0.001)

        _taking(loop, before)
        with _writing(full):
            loop.run()

    said = r"could not be written, the last one stays: .*No space left on device"
    with pytest.raises(KinemaError, match=said) as raised:
        _on(processes, fills)
    assert "\n" not in str(raised.value)
    steps = [int(path.name[-1]) for path in checkpoint.stored(tmp_path / "filled" / "checkpoint")]
    assert steps == ([5, 2] if has_room_again else [2])  # it is tried once more as the run ends
    found, wanted = (_on(processes, partial(_trained, folder=tmp_path / run)) for run in ("filled", "whole"))
    assert_same(found, wanted)
    assert not list(tmp_path.rglob("*.partial"))


@FORKED
def test_a_process_that_is_killed_while_it_writes_is_named_and_the_last_checkpoint_stays(
    tmp_path: Path,
) -> None:
    def killed(group: Group) -> None:
        def dies(name: str) -> None:
            if group.rank == 1 and name == "step_000000004":
                os.kill(os.getpid(), signal.SIGKILL)

        with _writing(dies):
            toy_loop(tmp_path / "killed", group=group).run()

    with pytest.raises(KinemaError, match="process 1 was killed by signal 9; --resume goes on"):
        _on(2, killed)
    assert checkpoint.newest(tmp_path / "killed" / "checkpoint").name == "step_000000002"
    found, wanted = (_on(2, partial(_trained, folder=tmp_path / run)) for run in ("killed", "whole"))
    assert_same(found, wanted)
