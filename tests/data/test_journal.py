"""A kill at any moment loses at most the running episode."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from edits import data_file, edit_column

from kinema.data.lerobot import Dataset
from kinema.data.repair import repair
from kinema.data.verify import verify
from kinema.schema import KinemaError

_CALLS = ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir")


def _killed_at(call_number: int, act) -> bool:
    """Run `act` in a child process that dies at its n-th call that touches the disk. True if it died."""
    pid = os.fork()
    if pid == 0:
        left = [call_number]

        def dying(call):
            def wrapped(*args, **kwargs):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return call(*args, **kwargs)

            return wrapped

        for name in _CALLS:
            setattr(os, name, dying(getattr(os, name)))
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9), f"the child failed with {code}"
    return code == 9


def _assert_holds(root: Path, episodes, at_least: int) -> int:
    """The data set holds the first n >= at_least episodes, whole and sound. Returns n."""
    repair(root)
    assert verify(root) == []
    dataset = Dataset.open(root)
    assert dataset.num_episodes >= at_least
    expected = np.concatenate([e["state"] for e in episodes[: dataset.num_episodes]])
    np.testing.assert_array_equal(dataset.state, expected)
    assert dataset.frames("wrist", np.arange(dataset.num_frames)).shape == (len(expected), 32, 32, 3)
    return dataset.num_episodes


@pytest.mark.parametrize("apart", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_death_at_each_step_of_adding_an_episode(tmp_path, new_writer, episodes, apart):
    outcomes = set()
    for step in range(0, 400, apart):
        root = tmp_path / str(step)
        writer = new_writer(root)
        writer.add_episode(**episodes[0])
        died = _killed_at(step, lambda w=writer: w.add_episode(**episodes[1]))
        writer.close()
        outcomes.add(_assert_holds(root, episodes, at_least=1 if died else 2))
        if not died:
            break
    assert not died, "the loop must reach a run that survives"
    assert outcomes == {1, 2}  # both sides of the commit were met


@pytest.mark.parametrize("apart", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_death_at_each_step_of_finalizing(tmp_path, new_writer, unfinished_once, episodes, apart):
    for step in range(0, 400, apart):
        root = shutil.copytree(unfinished_once, tmp_path / str(step))
        writer = new_writer(root, resume=True)
        died = _killed_at(step, writer.finalize)
        writer.close()
        assert _assert_holds(root, episodes, at_least=len(episodes)) == len(episodes)
        if not died:
            break
    assert not died


@pytest.mark.parametrize("apart", [61, pytest.param(7, marks=pytest.mark.slow)])
def test_death_at_each_step_of_a_repair(tmp_path, unfinished_once, episodes, apart):
    for step in range(0, 600, apart):
        root = shutil.copytree(unfinished_once, tmp_path / str(step))
        edit_column(data_file(root, 1), "index", lambda rows: [0] * len(rows))
        died = _killed_at(step, lambda r=root: repair(r))
        assert _assert_holds(root, episodes, at_least=len(episodes)) == len(episodes)
        if not died:
            break
    assert not died


_RECORDER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import SIZE, make_episode
from kinema.card.load import load_card
from kinema.data.lerobot_write import Writer
writer = Writer(Path({root!r}), card=load_card("panda"), image_size=SIZE, resume=True)
for number in range(writer.num_episodes, 1000):
    writer.add_episode(**make_episode(number, 5))
    print(number, flush=True)
"""


def test_sigkill_of_a_recorder_again_and_again(tmp_path):
    root, durable = tmp_path / "set", 0
    script = _RECORDER.format(tests=str(Path(__file__).parent), root=str(root))
    for trial in range(3):
        recorder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert recorder.stdout is not None
        durable = int(recorder.stdout.readline()) + 1
        time.sleep(0.07 * (trial + 1))  # somewhere in one of the next episodes
        recorder.send_signal(signal.SIGKILL)
        durable = max([durable, *(int(line) + 1 for line in recorder.stdout if line.strip())])
        recorder.wait()
        repair(root)
        assert verify(root) == []
        assert Dataset.open(root).num_episodes in (durable, durable + 1)


def test_a_full_disk_is_said_clearly_and_loses_nothing(tmp_path, new_writer, episodes):
    """The file-size limit stands in for a full disk: writing fails in the middle of a file."""
    root = tmp_path / "set"
    new_writer(root).add_episode(**episodes[0])
    script = _RECORDER.format(tests=str(Path(__file__).parent), root=str(root))
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
    script = script.replace("for number in", f"{limit}\nfor number in")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "KinemaError: episode 1 could not be saved" in run.stderr
    assert "nothing saved before is lost" in run.stderr
    assert verify(root) == []
    assert Dataset.open(root).num_episodes == 1
    new_writer(root, resume=True).add_episode(**episodes[1])
    assert Dataset.open(root).num_episodes == 2


@pytest.mark.parametrize("there", [(), ("set",), ("set", "set/.kinema"), ("set", "set/notes")])
@pytest.mark.parametrize("end", ["close", "finalize"])
def test_a_writer_that_wrote_nothing_leaves_nothing(tmp_path, new_writer, there, end):
    for folder in there:
        (tmp_path / folder).mkdir()
    before = sorted(tmp_path.rglob("*"))
    getattr(new_writer(), end)()
    assert sorted(tmp_path.rglob("*")) == before


def test_two_writers_at_once_are_refused(tmp_path, new_writer, episodes):
    writer = new_writer(tmp_path / "set")
    writer.add_episode(**episodes[0])
    with pytest.raises(KinemaError, match="written by another process"):
        new_writer(tmp_path / "set", resume=True)
    writer.close()
    with pytest.raises(KinemaError, match="closed"):
        writer.add_episode(**episodes[0])
