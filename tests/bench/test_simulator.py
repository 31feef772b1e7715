"""Laws of a simulator in a process of its own; what lives there is a toy."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.benchmark import Factory
from kinema.bench.journal import read_records
from kinema.bench.run import run
from kinema.bench.settings import RunSettings
from kinema.bench.simulator import SimulatorDiedError, SimulatorError, SimulatorProcess
from kinema.schema import KinemaError
from laws import examples

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
        yield


def started(target: str = "toy_simulation:ToySimulation") -> SimulatorProcess:
    return SimulatorProcess(Path(sys.executable), target)


@pytest.fixture(scope="module")
def simulator(importable: None) -> Iterator[SimulatorProcess]:
    process = started()
    yield process
    process.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


PLAIN = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(value=VALUES)
@examples(40)
def test_a_value_comes_back_as_it_was_sent(simulator: SimulatorProcess, value: Any) -> None:
    assert simulator.call("same", value=value) == value


@pytest.mark.parametrize("shape", [(0,), (7,), (256, 256, 3), (2, 900, 1200, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_an_array_of_any_size_comes_back(simulator: SimulatorProcess, shape: Any, dtype: Any) -> None:
    sent = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    back = simulator.call("same", value=sent)
    assert back.dtype == sent.dtype
    np.testing.assert_array_equal(back, sent)


def test_what_is_raised_there_is_raised_here_and_the_process_goes_on(simulator: SimulatorProcess) -> None:
    pid = simulator.call("pid")
    with pytest.raises(SimulatorError, match=r"^ZeroDivisionError: the toy broke$"):
        simulator.call("fail", ours=False)
    with pytest.raises(KinemaError, match=r"^not like this$"):
        simulator.call("fail", ours=True)
    with pytest.raises(SimulatorError, match=r"AttributeError: .*'nothing'"):
        simulator.call("nothing")
    assert simulator.call("pid") == pid != os.getpid()


def test_a_death_is_told_with_its_code_and_its_last_words_at_every_later_call() -> None:
    process = started()
    for _ in range(2):
        with pytest.raises(SimulatorDiedError, match="died with exit code 7: the last that was heard of it"):
            process.call("die")
    process.close()


def test_a_process_that_is_killed_while_nobody_asks_is_told_too() -> None:
    process = started()
    pid = process.call("pid")
    os.kill(pid, 9)
    with pytest.raises(SimulatorDiedError, match="exit code -9"):
        process.call("pid")


def test_what_cannot_be_imported_there_is_named() -> None:
    process = started("no_such_simulator:Thing")
    with pytest.raises(KinemaError, match="no_such_simulator"):
        process.call("pid")
    process.close()


def test_a_missing_interpreter_is_named(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match=r"no Python at .*/bin/python"):
        SimulatorProcess(tmp_path / "bin" / "python", "toy_simulation:ToySimulation")


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_the_process_ends_with_what_owns_it(how: str) -> None:
    process = started()
    pid = process.call("pid")
    assert not gone(pid)
    if how == "closed":
        process.close()
    del process
    gc.collect()
    assert gone(pid)


def test_the_process_ends_when_its_owner_is_killed() -> None:
    code = (
        "import os, sys; from pathlib import Path; from kinema.bench.simulator import SimulatorProcess;"
        "process = SimulatorProcess(Path(sys.executable), 'toy_simulation:ToySimulation');"
        "print(process.call('pid'), flush=True); os.kill(os.getpid(), 9)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(told.stdout)
    while not gone(pid):  # the test's own limit ends this
        time.sleep(0.05)


def test_a_death_is_an_error_of_its_episode_and_the_next_one_has_a_new_process(tmp_path: Path) -> None:
    settings = RunSettings(
        benchmark=Factory(target="toy_simulation:ToyBenchmark"),
        policy=Factory(target="kinema.runtime.policy:HoldPolicy"),
        episodes=3,
    )
    results = run(settings, tmp_path, quiet=True)
    first, second, third = sorted(read_records(tmp_path), key=lambda record: record.index)
    assert [first.result, second.result, third.result] == ["success", "error", "success"]
    assert "SimulatorDiedError: the simulator's process died with exit code 7" in second.cause
    assert (first.measures["index"], third.measures["index"]) == (0, 2), (
        "an episode starts where its number says"
    )
    assert first.measures["process"] != third.measures["process"]
    assert (results.overall["errors"], results.overall["successes"]) == (1, 2)
