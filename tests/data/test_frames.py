"""The frame cache holds what the videos hold, is built once, resumes, and is never stale."""

from __future__ import annotations

import multiprocessing
import os
import shutil

import numpy as np
import pytest

from kinema.data import frames
from kinema.data.frames import FrameCache, resize
from kinema.data.lerobot import Dataset
from kinema.schema import KinemaError


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


def test_it_is_built_once(dataset, monkeypatch):
    first = FrameCache(dataset, size=32)[np.arange(5)]
    monkeypatch.setattr(Dataset, "frames", None)  # decoding again would fail
    np.testing.assert_array_equal(FrameCache(dataset, size=32)[np.arange(5)], first)


def test_a_killed_build_goes_on_where_it_stopped(dataset, monkeypatch):
    decode, decoded = Dataset.frames, []

    def interrupted(self, camera, indices):
        if len(decoded) == 5:
            raise KeyboardInterrupt
        decoded.append(int(indices[0]))
        return decode(self, camera, indices)

    monkeypatch.setattr(Dataset, "frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        FrameCache(dataset, size=32)
    monkeypatch.setattr(Dataset, "frames", lambda *a: (decoded.append(int(a[2][0])), decode(*a))[1])
    cache = FrameCache(dataset, size=32)
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


def test_a_video_replaced_in_place_gets_another_cache(dataset):
    old = FrameCache(dataset, size=32)
    front, wrist = (next(dataset.root.glob(f"videos/*{c}/*/*.mp4")) for c in ("front", "wrist"))
    shutil.copy(wrist, front)
    new = FrameCache(Dataset.open(dataset.root), size=32)
    assert new.path != old.path
    np.testing.assert_array_equal(new[np.arange(9)][:, 0], new[np.arange(9)][:, 1])


def _build(root, directory):
    FrameCache(Dataset.open(root), size=24, directory=directory)


def test_two_processes_build_one_cache(dataset, tmp_path):
    context = multiprocessing.get_context("fork")
    builders = [context.Process(target=_build, args=(dataset.root, tmp_path / "cache")) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
        assert builder.exitcode == 0
    cache = FrameCache(dataset, size=24, directory=tmp_path / "cache")
    np.testing.assert_array_equal(
        cache[np.arange(25)][:, 1], resize(dataset.frames("wrist", np.arange(25)), 24)
    )


def test_a_full_disk_says_how_much_is_needed(dataset, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(frames.os, "posix_fallocate", full)
    with pytest.raises(KinemaError, match=r"needs .* GB: No space left"):
        FrameCache(dataset, size=32)


def test_resizing_averages_and_keeps_equal_sizes():
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8)
    assert resize(image, 64) is image
    small = resize(image, 16)
    assert small.shape == (2, 3, 16, 16, 3)
    assert abs(small.mean() - image.mean()) < 1.5
    assert small.std() < image.std() / 2  # antialiased: noise averages out
