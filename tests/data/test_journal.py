"""A kill at any moment loses at most the running episode."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from edits import data_file, edit_column

from conftest import SIZE, make_episode
from kinema.card.load import load_card
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import Writer
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


@pytest.fixture(scope="module")
def two_once(tmp_path_factory, episodes) -> Path:
    """Two episodes of a recording that was not finalized."""
    root = tmp_path_factory.mktemp("two") / "set"
    _record(root, episodes[:2])
    return root


def _record(root: Path, episodes) -> None:
    with closing(Writer(root, card=load_card("panda"), image_size=SIZE)) as writer:
        for episode in episodes:
            writer.add_episode(**episode)


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
    _record(tmp_path / "one", episodes[:1])
    for step in range(0, 400, apart):
        root = shutil.copytree(tmp_path / "one", tmp_path / str(step))
        writer = new_writer(root, resume=True)
        died = _killed_at(step, lambda w=writer: w.add_episode(**episodes[1]))
        writer.close()
        outcomes.add(_assert_holds(root, episodes, at_least=1 if died else 2))
        if not died:
            break
    assert not died, "the loop must reach a run that survives"
    assert outcomes == {1, 2}  # both sides of the commit were met


@pytest.mark.parametrize("apart", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_death_at_each_step_of_finalizing(tmp_path, new_writer, two_once, episodes, apart):
    for step in range(0, 400, apart):
        root = shutil.copytree(two_once, tmp_path / str(step))
        writer = new_writer(root, resume=True)
        died = _killed_at(step, writer.finalize)
        writer.close()
        assert _assert_holds(root, episodes, at_least=2) == 2
        if not died:
            break
    assert not died


@pytest.mark.parametrize("apart", [43, pytest.param(7, marks=pytest.mark.slow)])
def test_death_at_each_step_of_a_repair(tmp_path, two_once, episodes, apart):
    for step in range(0, 600, apart):
        root = shutil.copytree(two_once, tmp_path / str(step))
        edit_column(data_file(root, 1), "index", lambda rows: [0] * len(rows))
        died = _killed_at(step, lambda r=root: repair(r))
        assert _assert_holds(root, episodes, at_least=2) == 2
        if not died:
            break
    assert not died


def _recorder(root: Path, told: Connection, most_bytes: int | None = None) -> None:
    """Goes on recording until it is killed, or until a file would be larger than `most_bytes`."""
    writer = Writer(root, card=load_card("panda"), image_size=SIZE, resume=True)
    if most_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        for number in range(writer.num_episodes, 1000):
            writer.add_episode(**make_episode(number, 5))
            told.send(number)
    except KinemaError as error:
        told.send(str(error))


@contextmanager
def _recording(root: Path, most_bytes: int | None = None) -> Iterator[tuple[BaseProcess, Connection]]:
    """A process that records, and what it tells: the episodes that are on the disk, or why it ended."""
    forked = get_context("fork")
    here, there = forked.Pipe(duplex=False)
    recorder = forked.Process(target=_recorder, args=(root, there, most_bytes))
    recorder.start()
    there.close()
    try:
        yield recorder, here
    finally:
        recorder.kill()
        recorder.join()


def _rest(told: Connection) -> Iterator[int]:
    with suppress(EOFError):
        while True:
            yield told.recv()


def test_sigkill_of_a_recorder_again_and_again(tmp_path):
    root, durable = tmp_path / "set", 0
    for trial in range(3):
        with _recording(root) as (recorder, told):
            durable = told.recv() + 1
            time.sleep(0.07 * (trial + 1))  # somewhere in one of the next episodes
            recorder.kill()
            durable = max([durable, *(number + 1 for number in _rest(told))])
        repair(root)
        assert verify(root) == []
        assert Dataset.open(root).num_episodes in (durable, durable + 1)


def test_a_full_disk_is_said_clearly_and_loses_nothing(tmp_path, new_writer, episodes):
    """The file-size limit stands in for a full disk: writing fails in the middle of a file."""
    root = tmp_path / "set"
    _record(root, episodes[:1])
    with _recording(root, most_bytes=3000) as (_, told):
        said = told.recv()
    assert "episode 1 could not be saved" in said
    assert "nothing saved before is lost" in said
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
