"""A run that is stopped anywhere, by anything, goes on bit for bit as if it had never stopped."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_stage import assert_same, toy_loop, watched, weights

from kinema.train import checkpoint
from kinema.train.parallel import Group, together
from kinema.train.stop import STOPPING, StopRequest, interruptible
from laws import examples

NUMBERS = st.sampled_from(STOPPING)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """As in `kinema train`: outside of the loop a signal raises."""
    with interruptible():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], list[str]]:
    """What an uninterrupted run ends with, and everything that happens in it."""
    loop, events = toy_loop(tmp_path_factory.mktemp("whole")), []
    with watched(loop, events.append):
        loop.run()
    return weights(loop), events


def test_what_is_watched_holds_all_parts_of_a_step(whole: tuple[dict[str, torch.Tensor], list[str]]) -> None:
    seen = set(whole[1])
    assert {"before AdamW", "after AdamW", "before Muon", "after draw"} <= seen
    assert {"before save", "before write", "before rename", "after average of weights"} <= seen


@examples(8)
@given(data=st.data(), number=NUMBERS)
def test_a_signal_at_any_moment_loses_nothing(
    whole: tuple[dict[str, torch.Tensor], list[str]], data: st.DataObject, number: signal.Signals
) -> None:
    wanted, events = whole
    moment = data.draw(st.integers(0, len(events) - 1))
    with TemporaryDirectory() as folder:
        first, seen = toy_loop(Path(folder)), []

        def happens(name: str) -> None:
            seen.append(name)
            if len(seen) - 1 == moment:
                signal.raise_signal(number)

        with watched(first, happens), pytest.raises(KeyboardInterrupt):
            first.run()
        assert len(seen) > moment
        rest = toy_loop(Path(folder))
        rest.resume()
        assert rest.step == first.step
        rest.run()
        assert_same(weights(rest), wanted)
        assert rest.mixture.state.drawn == 6


def _dies(folder: Path, moment: str, *numbers: signal.Signals) -> int:
    """Run in a process of its own that is sent these signals at the second such moment; what it died of."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        loop, count = toy_loop(folder, keep=1), 0

        def happens(name: str) -> None:
            nonlocal count
            count += name == moment
            if count == 2 and name == moment:
                for number in numbers:
                    os.kill(os.getpid(), number)
                    while signal.getsignal(numbers[-1]) is not signal.SIG_DFL:
                        time.sleep(0.001)  # it is the main thread that heeds the first one

        with watched(loop, happens):
            loop.run()
    finally:
        os._exit(1)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("numbers", [(signal.SIGKILL,), (signal.SIGINT, signal.SIGTERM)])
def test_a_kill_and_a_second_signal_end_at_once_and_leave_the_last_checkpoint(
    numbers: tuple[signal.Signals, ...], whole: tuple[dict[str, torch.Tensor], list[str]], tmp_path: Path
) -> None:
    # of the second checkpoint, which is begun when the first one is whole; one is kept
    writing = ("save", "write", "flush", "rename", "flush_one")
    for moment in (f"{edge} {what}" for what in writing for edge in ("before", "after")):
        folder = tmp_path / moment
        assert _dies(folder, moment, *numbers) == -numbers[-1]
        rest = toy_loop(folder, keep=1)
        rest.resume()
        assert rest.step in (2, 4)
        assert len(checkpoint.stored(folder / "checkpoint")) in (1, 2)
        rest.run()
        assert_same(weights(rest), whole[0])


def test_an_evaluation_is_stopped_at_once_and_nothing_of_the_run_is_lost(
    whole: tuple[dict[str, torch.Tensor], list[str]], tmp_path: Path
) -> None:
    first = toy_loop(tmp_path, evaluate_every=3, save_every=100)

    def evaluate(step: int) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("goes on after the signal")

    with pytest.raises(KeyboardInterrupt):
        first.run(evaluate)
    rest = toy_loop(tmp_path, save_every=100)
    rest.resume()
    assert rest.step == 3
    rest.run()
    assert_same(weights(rest), whole[0])


def test_an_evaluation_that_fails_leaves_a_checkpoint(tmp_path: Path) -> None:
    def evaluate(step: int) -> dict[str, float]:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        toy_loop(tmp_path, evaluate_every=3, save_every=100).run(evaluate)
    assert checkpoint.newest(tmp_path / "checkpoint").name == "step_000000003"


def test_what_is_ignored_stays_ignored_and_handlers_come_back() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop.asked
        signal.raise_signal(signal.SIGINT)
        assert stop.asked
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # the next one ends the process
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", STOPPING)
@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler])
def test_what_can_be_interrupted_leaves_every_handler_as_it_was(number: signal.Signals, before: Any) -> None:
    signal.signal(number, before)
    ignored = before is signal.SIG_IGN and number != signal.SIGINT  # Ctrl-C counts in the background, too
    with nullcontext() if ignored else pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
@pytest.mark.parametrize(
    "moment",
    [
        "after AdamW",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("before draw", "before average of weights")
        ),
    ],
)
def test_all_processes_stop_after_the_same_step_and_go_on_bit_for_bit(moment: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)

    def train(folder: Path, stopped: bool) -> dict[str, torch.Tensor]:
        def work(group: Group) -> dict[str, torch.Tensor]:
            loop, count = toy_loop(folder, group=group), 0

            def happens(name: str) -> None:
                nonlocal count
                count += name == moment
                if stopped and group.is_chief and name == moment and count == 3:
                    os.kill(os.getpid(), signal.SIGTERM)

            if checkpoint.stored(folder / "checkpoint"):
                loop.resume()
            with watched(loop, happens):
                loop.run()
            return weights(loop)

        with together(2, work) as group:
            return work(group)

    wanted = train(tmp_path / "whole", False)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "halves", True)
    assert checkpoint.newest(tmp_path / "halves" / "checkpoint").name < "step_000000006"
    assert_same(train(tmp_path / "halves", False), wanted)
