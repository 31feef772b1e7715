"""Pictures are the same decoded, cached and in memory; what a cache holds is never stale."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.data import disk_array, frames
from kinema.data.frames import FrameCache, images_of, resize
from kinema.data.index import Index
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import Writer
from kinema.schema import KinemaError

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("lerobot_v*"))


@pytest.fixture
def dataset(tmp_path, recorded_once):
    return Dataset.open(shutil.copytree(recorded_once, tmp_path / "set"))


def test_cached_frames_equal_decoded_ones(dataset):
    cache = FrameCache(dataset, size=32)
    order = np.random.default_rng(0).permutation(dataset.num_frames)
    got = cache[order]
    assert got.shape == (dataset.num_frames, 2, 32, 32, 3)
    assert got.dtype == np.uint8
    for view, camera in enumerate(dataset.camera_names):
        np.testing.assert_array_equal(got[:, view], dataset.frames(camera, order))
    small = FrameCache(dataset, size=16, cameras=("wrist",))
    np.testing.assert_array_equal(small[order][:, 0], resize(dataset.frames("wrist", order), 16))


def test_what_was_asked_for_is_decoded_once(dataset, monkeypatch):
    first = FrameCache(dataset, size=32)[np.arange(5)]
    monkeypatch.setattr(Dataset, "frames", None)  # decoding again would fail
    np.testing.assert_array_equal(FrameCache(dataset, size=32)[np.arange(5)], first)


def test_a_stopped_filling_goes_on_where_it_stopped(dataset, monkeypatch):
    decode, decoded = Dataset.frames, []

    def interrupted(self, camera, indices):
        if len(decoded) == 5:
            raise KeyboardInterrupt
        decoded.append(int(indices[0]))
        return decode(self, camera, indices)

    monkeypatch.setattr(Dataset, "frames", interrupted)
    every = np.arange(dataset.num_frames)
    with pytest.raises(KeyboardInterrupt):
        FrameCache(dataset, size=32).fill(every)
    monkeypatch.setattr(Dataset, "frames", lambda *a: (decoded.append(int(a[2][0])), decode(*a))[1])
    cache = FrameCache(dataset, size=32)
    cache.fill(every)
    first_frames = dataset.episode_bounds[:, 0].tolist()
    assert decoded[:4] == [first_frames[0]] * 2 + [first_frames[1]] * 2
    assert sorted(set(decoded[5:])) == first_frames[2:]  # episodes 0 and 1 were not decoded again
    monkeypatch.undo()
    np.testing.assert_array_equal(cache[np.arange(25)][:, 0], dataset.frames("front", np.arange(25)))


def test_a_changed_data_set_gets_another_cache(dataset, new_writer, episodes):
    old = FrameCache(dataset, size=32)
    with new_writer(dataset.root, resume=True) as writer:
        writer.add_episode(**episodes[0])
    new = FrameCache(Dataset.open(dataset.root), size=32)
    assert new.path != old.path
    assert len(new) == len(old) + len(episodes[0]["state"])
    assert not old.path.exists()  # stale ones do not fill the disk


def test_of_a_video_replaced_in_place_the_pictures_are_decoded_anew(dataset):
    order = np.arange(dataset.num_frames)
    old = FrameCache(dataset, size=32)[order]
    front, wrist = (next(dataset.root.glob(f"videos/*{c}/*/*.mp4")) for c in ("front", "wrist"))
    shutil.copy(wrist, front)
    new = FrameCache(Dataset.open(dataset.root), size=32)[order]
    assert not np.array_equal(new[:, 0], old[:, 0])
    np.testing.assert_array_equal(new[:, 0], new[:, 1])


def test_a_full_disk_says_how_much_is_needed(dataset, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(disk_array.os, "pwrite", full)
    with pytest.raises(KinemaError, match=r"GB\) does not fit .*No space left.*KINEMA_CACHE"):
        FrameCache(dataset, size=32)[np.arange(5)]


def test_resizing_averages_and_keeps_equal_sizes():
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8)
    assert resize(image, 64) is image
    small = resize(image, 16)
    assert small.shape == (2, 3, 16, 16, 3)
    assert abs(small.mean() - image.mean()) < 1.5
    assert small.std() < image.std() / 2  # antialiased: noise averages out


def _long(tmp_path, length=150):
    card = load_card("panda")
    with Writer(tmp_path / "long", card=card, image_size=32) as writer:
        for steps in (3, length):
            number = np.arange(steps, dtype=np.uint8)[:, None, None, None]
            images = {c: np.broadcast_to(number, (steps, 32, 32, 3)).copy() for c in card.camera_names}
            state = np.zeros((steps, 7), np.float32)
            writer.add_episode(images=images, state=state, action=state, task="push it")
    return Dataset.open(tmp_path / "long")


def test_filling_holds_a_few_pictures_however_long_an_episode_is(tmp_path, monkeypatch):
    dataset, asked, decode = _long(tmp_path), [], Dataset.frames

    def counted(self, camera, indices):
        asked.append(len(indices))
        return decode(self, camera, indices)

    monkeypatch.setattr(Dataset, "frames", counted)
    cache = FrameCache(dataset, size=32)
    cache.fill(np.arange(dataset.num_frames))
    assert max(asked) <= 64
    assert sum(asked) == 2 * dataset.num_frames
    monkeypatch.undo()
    whole = dataset.frames("front", np.arange(dataset.num_frames))
    np.testing.assert_array_equal(cache[np.arange(dataset.num_frames)][:, 0], whole)


def test_the_user_names_the_place_and_the_set_is_not_written_to(dataset, tmp_path, monkeypatch):
    before = sorted(dataset.root.rglob("*"))
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "elsewhere"))
    cache = FrameCache(dataset, size=16)
    assert cache.path.parent == tmp_path / "elsewhere"
    assert FrameCache(dataset, size=16, directory=tmp_path / "named").path.parent == tmp_path / "named"
    assert sorted(dataset.root.rglob("*")) == before


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_set_that_may_only_be_read_names_how_to_put_the_cache_elsewhere(dataset, monkeypatch, error):
    def refused(self, *_, **__):
        raise OSError(error, os.strerror(error), str(self))

    monkeypatch.setattr(type(dataset.root), "mkdir", refused)
    with pytest.raises(KinemaError, match=r"cannot be kept in .*cache: .*KINEMA_CACHE"):
        FrameCache(dataset, size=16)


def test_a_full_cache_is_only_read(dataset, monkeypatch):
    first = FrameCache(dataset, size=16)[np.arange(dataset.num_frames)]

    def refused(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("mkdir", "write_text", "rename", "replace", "touch"):
        monkeypatch.setattr(type(dataset.root), name, refused)
    for name in ("pwrite", "truncate", "ftruncate"):
        monkeypatch.setattr(disk_array.os, name, refused)
    monkeypatch.setattr(disk_array.fcntl, "lockf", refused)
    np.testing.assert_array_equal(FrameCache(dataset, size=16)[np.arange(dataset.num_frames)], first)


def test_what_is_needed_is_refused_before_anything_is_decoded(dataset, monkeypatch):
    monkeypatch.setattr(Dataset, "frames", None)
    monkeypatch.setattr(disk_array.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(KinemaError, match=r"GB\) does not fit .*No space left.*KINEMA_CACHE"):
        FrameCache(dataset, size=32)


def test_what_is_decoded_at_once_is_said_before_it_begins(dataset, monkeypatch):
    said = []

    class Bar(frames.tqdm):
        def __init__(self, *args, desc, **options):
            said.append(desc)
            monkeypatch.setattr(Dataset, "frames", decode)
            super().__init__(*args, desc=desc, **options)

    decode = Dataset.frames
    monkeypatch.setattr(Dataset, "frames", None)
    monkeypatch.setattr(frames, "tqdm", Bar)
    cache = FrameCache(dataset, size=32)
    assert said == []
    cache.in_memory()
    cache.in_memory()  # there is nothing to do
    assert said == [f"decoding set into {25 * 2 * 32 * 32 * 3 / 1e9:.3g} GB"]


def test_pictures_are_the_same_whichever_way_they_come(dataset, tmp_path):
    steps = np.random.default_rng(0).integers(0, dataset.num_frames, 40)  # in any order, some twice
    for root in (dataset.root, *FIXTURES):
        index = Index.open(root)
        wanted = [
            np.stack([resize(index.frames(c, [s])[0], 24) for c in index.camera_names]) for s in steps % 10
        ]
        for way in ("decode", "cache", "memory"):
            images = images_of(index, way, size=24, cameras=index.camera_names, directory=tmp_path / "cache")
            np.testing.assert_array_equal(images(steps % 10), np.stack(wanted), err_msg=f"{root} {way}")
    with pytest.raises(KinemaError, match=r"pictures 'disk' are unknown; choices: decode, cache, memory"):
        images_of(index, "disk", size=24, cameras=index.camera_names)


def test_several_processes_fill_as_one_does(dataset, tmp_path, monkeypatch):
    order = np.arange(dataset.num_frames)
    one, two = (FrameCache(dataset, size=24, directory=tmp_path / name) for name in ("one", "two"))
    one.fill(order, processes=1)
    two.fill(order, processes=2)
    for name in ("rows", "stamps"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()
    monkeypatch.setattr(Dataset, "frames", None)  # both are full
    np.testing.assert_array_equal(one[order], two[order])


def test_a_process_that_fails_says_so_in_one_line(dataset, tmp_path):
    cache = FrameCache(dataset, size=24, directory=tmp_path / "cache")
    video = next(dataset.root.glob("videos/*front/*/*.mp4"))
    video.write_bytes(video.read_bytes()[:2000])
    with pytest.raises(KinemaError, match=r"mp4 is not a readable video"):
        cache.fill(np.arange(dataset.num_frames), processes=2)
    with pytest.raises(KinemaError, match=r"mp4 is not a readable video"):  # without a cache there
        FrameCache(dataset, size=24, directory=tmp_path / "other")


def test_what_is_asked_for_at_once_is_decoded_ahead(dataset, tmp_path, monkeypatch):
    options = {"size": 24, "cameras": dataset.camera_names, "directory": tmp_path / "cache"}
    first = dataset.episode_bounds[2, 0]
    images = images_of(dataset, "cache", **options, ahead=np.arange(first))
    monkeypatch.setattr(Dataset, "frames", None)
    assert images(np.arange(first)).any()
    with pytest.raises(TypeError, match="NoneType"):
        images(np.array([first]))


def test_memory_that_does_not_hold_the_pictures_is_refused(dataset, monkeypatch):
    cache = FrameCache(dataset, size=16)
    np.testing.assert_array_equal(cache.in_memory()[3:5], cache[np.arange(3, 5)])
    monkeypatch.setattr(frames, "free_memory_bytes", lambda: 1000)
    with pytest.raises(KinemaError, match=r"GB are free; read them from the disk"):
        cache.in_memory()


def test_reading_holds_what_was_asked_for(dataset, tmp_path):
    """By position, not through a map: no page of the file stays in the process."""
    cache = FrameCache(dataset, size=32)
    for _ in range(3):
        cache[np.arange(dataset.num_frames)]
    assert str(cache.path) not in Path("/proc/self/maps").read_text()


def test_what_is_not_colours_is_never_kept(dataset, monkeypatch):
    monkeypatch.setattr(Dataset, "frames", lambda *_: np.zeros((2, 32, 32, 1), np.uint16))
    with pytest.raises(KinemaError, match=r"camera 'front' gives uint16 \(32, 32, 1\), not colours"):
        FrameCache(dataset, size=32)[np.arange(5)]
