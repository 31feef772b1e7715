"""A cache fills while it is read: block by block, each decoded once by whoever comes first."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.data import disk_array, frames
from kinema.data.blocks import Blocks
from kinema.data.disk_array import DiskArray
from kinema.data.frames import FrameCache, resize
from kinema.data.index import Index
from kinema.data.lerobot_write import Writer
from kinema.data.loader import Loader
from kinema.data.video import Encoding
from kinema.schema import KinemaError

LENGTHS = (37, 5, 150, 64)
ORDER = np.random.default_rng(0).permutation(sum(LENGTHS))  # windows as training asks for them
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="session")
def long_once(tmp_path_factory):
    return _written(tmp_path_factory.mktemp("long"), LENGTHS)


def _scene(rng: np.random.Generator) -> np.ndarray:
    """uint8 (32, 32, 3): so much that stays that no encoder takes what changes for another scene."""
    return rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)


def _written(root: Path, lengths: tuple[int, ...], keyframe_every: int = 2) -> Path:
    card = load_card("panda")
    encoding = Encoding(keyframe_every=keyframe_every)
    with Writer(root / "set", card=card, image_size=32, encoding=encoding) as writer:
        rng = np.random.default_rng(0)
        for length in lengths:
            images = {c: np.repeat(_scene(rng)[None], length, 0) for c in card.camera_names}
            for pictures in images.values():
                pictures[:, 8:24, 8:24] = np.arange(length)[:, None, None, None] % 256
            state = np.zeros((length, 7), np.float32)
            writer.add_episode(images=images, state=state, action=state, task="push it")
    return root / "set"


@pytest.fixture
def cached(long_once, tmp_path):
    """Opens the cache of the set, as another run would: a new index, a new reader."""

    def opened(name: str = "cache") -> FrameCache:
        return FrameCache(Index.open(long_once), size=16, directory=tmp_path / name)

    return opened


@pytest.fixture
def decoded(tmp_path, monkeypatch):
    """How often each frame of the first camera was decoded since the last question, by any process."""
    log, of = tmp_path / "decoded", Index.frames

    def counted(self, camera, indices):
        if camera == self.camera_names[0]:
            with log.open("a") as file:
                file.write("".join(f"{index}\n" for index in indices))
        return of(self, camera, indices)

    monkeypatch.setattr(Index, "frames", counted)
    log.touch()

    def asked() -> Counter[int]:
        found = Counter(map(int, log.read_text().split()))
        log.write_text("")
        return found

    return asked


@pytest.fixture(scope="session")
def pictures(long_once):
    """What decoding gives."""
    index = Index.open(long_once)
    steps = np.arange(index.num_frames)
    return np.stack([resize(index.frames(camera, steps), 16) for camera in index.camera_names], 1)


def _once(steps: np.ndarray | range) -> Counter[int]:
    return Counter(dict.fromkeys(np.asarray(steps).tolist(), 1))


def _content(cache: FrameCache) -> list[bytes]:
    return [(cache.path / name).read_bytes() for name in ("rows", "stamps")]


def test_opening_decodes_nothing_and_a_window_costs_its_block(cached, decoded, pictures):
    cache = cached()
    assert decoded() == {}
    np.testing.assert_array_equal(cache[np.array([100])], pictures[[100]])
    first = LENGTHS[0] + LENGTHS[1]
    assert decoded() == _once(range(first + 48, first + 64))  # the fourth block of the third episode
    np.testing.assert_array_equal(cache[np.array([101, 97])], pictures[[101, 97]])
    assert decoded() == {}


def test_in_random_order_every_frame_is_decoded_once_and_all_are_as_if_filled_at_once(
    cached, decoded, pictures
):
    cache, whole = cached(), cached("whole")
    for step in ORDER:
        np.testing.assert_array_equal(cache[np.array([step])], pictures[[step]])
    assert decoded() == _once(ORDER)
    whole.fill(ORDER, processes=1)
    assert _content(cache) == _content(whole)


@pytest.mark.parametrize(("keyframe_every", "length"), [(1, 16), (5, 15), (16, 16), (40, 40), (1000, 256)])
def test_a_block_begins_with_a_key_frame(tmp_path, decoded, keyframe_every, length):
    index = Index.open(_written(tmp_path, (300,), keyframe_every))
    cache = FrameCache(index, size=16)
    cache[np.array([length])]
    assert decoded() == _once(range(length, min(2 * length, 300)))
    FrameCache(index, size=16)[np.array([length - 1])]  # opened again it has the same blocks
    assert decoded() == _once(range(length))


def test_a_partly_filled_cache_goes_on(cached, decoded, pictures):
    half = ORDER[:6]
    cached()[half]
    there = decoded()
    np.testing.assert_array_equal(cached()[half], pictures[half])
    assert decoded() == {}
    np.testing.assert_array_equal(cached()[ORDER], pictures[ORDER])
    assert there + decoded() == _once(ORDER)


def _ask(cache: FrameCache, order: np.ndarray, wanted: np.ndarray) -> None:
    for steps in np.array_split(order, 8):
        np.testing.assert_array_equal(cache[steps], wanted[steps])


@pytest.mark.parametrize("opened_by", ["each", "one before it forks"])
def test_two_processes_that_want_the_same_decode_it_once(cached, decoded, pictures, opened_by):
    one = cached()
    both = [one, one if opened_by == "one before it forks" else cached()]
    workers = [FORK.Process(target=_ask, args=(cache, ORDER, pictures)) for cache in both]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert decoded() == _once(ORDER)
    np.testing.assert_array_equal(one[ORDER], pictures[ORDER])


def test_two_threads_that_want_the_same_decode_it_once(cached, decoded, pictures):
    one, failed = cached(), []

    def asked(cache):
        try:
            _ask(cache, ORDER, pictures)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=asked, args=(cache,)) for cache in (one, one, cached())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert decoded() == _once(ORDER)


def test_workers_that_make_batches_ahead_fill_it_together(cached, decoded, pictures):
    cache = cached()
    loader = Loader(lambda number: cache[ORDER[8 * number : 8 * number + 8]], workers=2)
    for number in range(len(ORDER) // 8):
        steps = ORDER[8 * number : 8 * number + 8]
        np.testing.assert_array_equal(loader.take(number), pictures[steps])
    loader.close()
    assert decoded() == _once(ORDER)


def _killed(cache: FrameCache, step: int) -> None:
    decode, calls = Index.frames, []

    def frames(self, camera, indices):
        calls.append(camera)
        if len(calls) == 4:  # the first half of the block is written, and one camera of the second decoded
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(self, camera, indices)

    Index.frames = frames
    cache[np.array([step])]


def test_a_killed_filler_leaves_no_block_that_counts_as_filled(cached, decoded, pictures, monkeypatch):
    monkeypatch.setattr(frames, "_AT_ONCE", 8)
    cache = cached()
    cache[np.array([0])]
    empty = _content(cache)
    filler = FORK.Process(target=_killed, args=(cache, 20))
    filler.start()
    filler.join(60)
    assert filler.exitcode == -signal.SIGKILL
    rows, stamps = _content(cache)
    assert rows != empty[0]  # it was killed in the middle
    assert stamps == empty[1]
    decoded()
    for again in (cache, cached()):  # the one that saw it begin, and another run
        np.testing.assert_array_equal(again[ORDER], pictures[ORDER])
    assert decoded() == _once(ORDER) - _once(range(16))


def test_a_block_that_cannot_be_decoded_is_named_and_the_others_are_read(cached, pictures, monkeypatch):
    decode = Index.frames

    def damaged(self, camera, indices):
        if 20 in indices:
            raise KinemaError("file-000.mp4 is damaged near 1.0 s")
        return decode(self, camera, indices)

    monkeypatch.setattr(Index, "frames", damaged)
    cache, others = cached(), np.setdiff1d(ORDER, np.arange(16, 32))
    np.testing.assert_array_equal(cache[others], pictures[others])
    for again in (cache, cached()):
        with pytest.raises(KinemaError, match=r"file-000\.mp4 is damaged"):
            again[np.array([16])]
    monkeypatch.undo()
    np.testing.assert_array_equal(cache[ORDER], pictures[ORDER])


def test_a_block_whose_stamp_is_another_is_decoded_anew(cached, decoded, pictures):
    cached()[ORDER]
    decoded()
    with (cached().path / "stamps").open("r+b") as file:
        file.seek(8)
        file.write(bytes(8))
    np.testing.assert_array_equal(cached()[ORDER], pictures[ORDER])
    assert decoded() == _once(range(16, 32))


def test_stamps_do_not_outlive_their_rows(cached, pictures):
    rows = cached().path / "rows"
    for size in (0, 1000):
        cached()[ORDER]
        os.truncate(rows, size)
        np.testing.assert_array_equal(cached()[ORDER], pictures[ORDER])


def test_a_cache_that_is_removed_while_in_use_says_so(cached, pictures, tmp_path):
    cache = cached()
    cache[ORDER]
    cache.path.rename(tmp_path / "away")
    with pytest.raises(KinemaError, match="was removed while it was in use; begin again"):
        Loader(lambda number: cache[ORDER], workers=1).take(0)  # a process that has none of its files open
    cached()[np.arange(1)]  # another run begins it anew
    with pytest.raises(KinemaError, match="was removed while it was in use; begin again"):
        Loader(lambda number: cache[ORDER], workers=1).take(0)


def test_a_question_reads_the_stamps_that_it_is_about(tmp_path, monkeypatch):
    array = DiskArray(
        tmp_path / "array", rows=10_000, row_bytes=1, stamps=np.arange(1, 10_001, dtype=np.uint64), what="it"
    )
    read, of = [], os.pread
    monkeypatch.setattr(disk_array.os, "pread", lambda *a: (read.append(a[1]), of(*a))[1])
    asked = np.array([3, 4, 5, 900])
    assert array.missing(asked).tolist() == asked.tolist()
    assert read == [24, 8]
    array.fill(4, lambda: iter([(4, np.ones((1, 1), np.uint8))]))
    read.clear()
    assert array.missing(asked).tolist() == [3, 5, 900]
    assert sum(read) == 24


@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_blocks_part_every_episode(length):
    lengths = np.random.default_rng(length).integers(1, 30, 20)
    ends = lengths.cumsum()
    blocks = Blocks(np.stack([ends - lengths, ends], 1), length)
    numbers = np.arange(len(blocks))
    parts, episodes = blocks.frames(numbers), blocks.episode_of(numbers)
    assert np.concatenate([np.arange(*part) for part in parts]).tolist() == list(range(ends[-1]))
    assert (np.diff(parts) <= length).all()
    for number, (first, end), episode in zip(numbers, parts, episodes):
        assert (blocks.of(np.arange(first, end)) == number).all()
        assert ends[episode] - lengths[episode] <= first < end <= ends[episode]
