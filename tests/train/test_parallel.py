"""Training in two processes: the replicas stay equal, resume is exact, a stop leaves a checkpoint."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import get_context

import pytest
import torch
from policy_run import debug_recipe

from kinema.cli import main
from kinema.schema import KinemaError
from kinema.train.checkpoint import newest, stored
from kinema.train.parallel import Group, together
from kinema.train.recipe import Options
from kinema.train.run import Run, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


_TWO = Options(processes=2)


def _run(steps, out):
    return Run(debug_recipe(steps=steps), out, out, _TWO)


def test_the_average_is_the_mean_over_the_processes():
    def work(group):
        tensor = torch.full((3,), float(group.rank))
        group.average(tensor)
        return tensor, group.gather(group.rank)

    with together(3, work) as group:
        tensor, ranks = work(group)
    assert torch.equal(tensor, torch.full((3,), 1.0))
    assert ranks == [0, 1, 2]


def test_one_process_is_no_group():
    tensor = torch.ones(2)
    with together(1, lambda group: None) as group:
        group.average(tensor)
    assert group == Group(rank=0, size=1)
    assert torch.equal(tensor, torch.ones(2))


@pytest.mark.slow
def test_two_and_two_steps_of_two_processes_equal_four_bit_for_bit(tmp_path):
    whole = run(debug_recipe(steps=4), tmp_path, tmp_path / "whole", _TWO)
    begun = _run(4, tmp_path / "half")

    def half(group):
        begun.begin(group).run(until=2)

    with together(2, half) as group:
        half(group)
    rest = run(debug_recipe(steps=4), tmp_path, tmp_path / "half", replace(_TWO, resume=True))
    assert (whole / "weights.safetensors").read_bytes() == (rest / "weights.safetensors").read_bytes()


def test_a_loss_that_is_not_finite_in_one_process_stops_them_all(tmp_path):
    whole = _run(4, tmp_path)

    def work(group):
        loop = whole.begin(group)
        if not group.is_chief:
            loop.weights = {name: float("nan") * weight for name, weight in loop.weights.items()}
        loop.run()

    with together(2, work) as group, pytest.raises(KinemaError, match="not finite at step 0"):
        work(group)


def test_sharing_a_batch_unevenly_is_refused():
    with pytest.raises(KinemaError, match="a batch of 16 cannot be shared by 3 processes"):
        Options(processes=3).of(debug_recipe())


def test_a_stopped_run_leaves_a_checkpoint_and_no_process_behind(tmp_path):
    arguments = ["train", "debug", "--processes", "2", "--steps", "100000", "--batch-size", "4"]
    process = get_context("fork").Process(target=main, args=([*arguments, "--out", str(tmp_path)],))
    process.start()
    deadline = time.monotonic() + 120
    while not stored(tmp_path / "checkpoint") and time.monotonic() < deadline:
        time.sleep(0.2)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
    ).stdout.split()
    process.terminate()
    process.join(60)
    assert process.exitcode not in (0, None)
    assert (newest(tmp_path / "checkpoint") / "position.json").exists()
    assert children
    assert not [child for child in children if os.path.exists(f"/proc/{child}")]
