"""Pictures survive compression, times are exact, files join without loss."""

from __future__ import annotations

import gc
import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from kinema.data import video
from kinema.data.video import FAITHFUL, LEROBOT, Decoder, Decoders, Encoding, encode, join, probe
from kinema.schema import KinemaError


def _thin_things(length: int, size: int = 96, seed: int = 0) -> np.ndarray:
    """Small saturated squares and one-pixel lines on a smooth background, moving."""
    row, column = np.mgrid[:size, :size]
    background = np.stack([110 + row / 2, 120 + column / 3, 140 - row / 4], -1)
    frames = np.repeat(background[None], length, 0).astype(np.uint8)
    for t in range(length):
        for i, colour in enumerate([(220, 30, 30), (30, 60, 220), (30, 180, 60)]):
            x, y = size // 9 + size // 4 * i + t % 7, size // 3 + (5 * i + seed + t) % (size // 5)
            frames[t, y : y + 6, x : x + 6] = colour
        frames[t, size * 3 // 4 + t % 5, size // 9 : size * 5 // 6] = (250, 250, 250)
    return frames


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def _decoded(path, fps=10.0):
    times_s = probe(path).times_s
    return Decoder(path).at(times_s, 0.5 / fps)


@pytest.mark.parametrize(("encoding", "at_least_db"), [(FAITHFUL, 36.0), (LEROBOT, 26.0)])
def test_thin_coloured_things_survive(tmp_path, encoding, at_least_db):
    frames = _thin_things(30)
    encode(tmp_path / "a.mp4", frames, 10.0, encoding)
    assert psnr_db(_decoded(tmp_path / "a.mp4"), frames) > at_least_db


def test_crf_trades_size_for_fidelity(tmp_path):
    frames = _thin_things(20)
    sizes, fidelity = [], []
    for crf in (4, 16, 28, 40):
        encode(tmp_path / "a.mp4", frames, 10.0, Encoding(crf=crf))
        sizes.append((tmp_path / "a.mp4").stat().st_size)
        fidelity.append(psnr_db(_decoded(tmp_path / "a.mp4"), frames))
    assert sizes == sorted(sizes, reverse=True)
    assert fidelity == sorted(fidelity, reverse=True)


@pytest.mark.parametrize("fps", [10.0, 12.5, 30.0, 80.0])
def test_frames_lie_exactly_on_the_grid(tmp_path, fps):
    encode(tmp_path / "a.mp4", _thin_things(9, 32), fps)
    stream = probe(tmp_path / "a.mp4")
    np.testing.assert_allclose(stream.times_s, np.arange(9) / fps, atol=1e-6)
    assert stream.fps == pytest.approx(fps)
    assert (stream.height, stream.width, stream.codec, stream.pixel_format) == (32, 32, "h264", "yuv444p")


@pytest.mark.parametrize("encoding", [FAITHFUL, LEROBOT])
def test_joined_files_hold_the_same_pictures(tmp_path, encoding):
    parts = [_thin_things(n, 64, seed) for seed, n in enumerate((5, 8, 3))]
    paths = [tmp_path / f"{i}.mp4" for i in range(3)]
    for path, frames in zip(paths, parts):
        encode(path, frames, 10.0, encoding)
    assert len({probe(path).settings for path in paths}) == 1
    join(paths, tmp_path / "all.mp4", 10.0, [5, 8, 3])
    np.testing.assert_allclose(probe(tmp_path / "all.mp4").times_s, np.arange(16) / 10, atol=1e-6)
    np.testing.assert_array_equal(
        _decoded(tmp_path / "all.mp4"), np.concatenate([_decoded(path) for path in paths])
    )


def test_random_access_equals_sequential(tmp_path):
    frames = _thin_things(40, 32)
    encode(tmp_path / "a.mp4", frames, 10.0)
    decoder, all_of_it = Decoder(tmp_path / "a.mp4"), _decoded(tmp_path / "a.mp4")
    for i in np.random.default_rng(0).permutation(40):
        np.testing.assert_array_equal(decoder.at(np.array([i / 10]), 0.05)[0], all_of_it[i])
    repeated = np.array([3, 3, 4, 4, 30, 39])
    np.testing.assert_array_equal(decoder.at(repeated / 10, 0.05), all_of_it[repeated])


def test_faults_are_named(tmp_path):
    encode(tmp_path / "a.mp4", _thin_things(6, 32), 10.0)
    with pytest.raises(KinemaError, match=r"no frame at 0\.600 s"):
        Decoder(tmp_path / "a.mp4").at(np.array([0.6]), 0.05)
    with pytest.raises(KinemaError, match=r"b\.mp4 is missing"):
        probe(tmp_path / "b.mp4")
    (tmp_path / "c.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:300])
    with pytest.raises(KinemaError, match=r"c\.mp4 is not a readable video"):
        probe(tmp_path / "c.mp4")
    with pytest.raises(KinemaError, match="cannot encode 'libx266'"):
        Encoding(codec="libx266")
    with pytest.raises(KinemaError, match="uint8"):
        encode(tmp_path / "d.mp4", np.zeros((3, 8, 8, 3)), 10.0)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no scheduling policies here")
@pytest.mark.parametrize("codec", ["libx264", "libsvtav1", "mpeg4"])
def test_encoding_takes_no_priority(tmp_path, monkeypatch, codec):
    """Neither while an encoder runs nor afterwards, for the caller nor for the encoder's own threads.

    Only root (or who may set real-time priorities) can be given one, so only there this can fail.
    """

    def scheduled() -> set[tuple[int, int]]:
        threads = [int(name) for name in os.listdir("/proc/self/task")]
        return {(os.sched_getscheduler(t), os.sched_getparam(t).sched_priority) for t in threads}

    during = []

    class Watched:
        @staticmethod
        def from_ndarray(*arguments, **options):
            during.append(scheduled())
            return av.VideoFrame.from_ndarray(*arguments, **options)

    before = scheduled()
    monkeypatch.setattr(video, "av", SimpleNamespace(**vars(av) | {"VideoFrame": Watched}))
    pixel_format = "yuv444p" if codec == "libx264" else "yuv420p"
    preset = "12" if codec == "libsvtav1" else "veryfast"
    encode(
        tmp_path / "a.mp4",
        _thin_things(5),
        10.0,
        Encoding(codec=codec, pixel_format=pixel_format, preset=preset),
    )
    assert len(during) == 5
    assert set().union(*during, scheduled()) == before


def test_a_forked_process_can_drop_a_decoder_of_av1():
    """libdav1d waits for its threads when it is freed, and a fork has none of them."""
    path = next((Path(__file__).parent / "fixtures/lerobot_v30").glob("videos/*/*/*.mp4"))
    decoders = Decoders()
    decoders[path].at(np.array([0.0]), 0.05)
    worker = multiprocessing.get_context("fork").Process(target=_drop, args=(decoders,))
    worker.start()
    worker.join(20)
    stuck = worker.is_alive()
    if stuck:
        worker.kill()
    assert not stuck


def _drop(decoders: Decoders) -> None:
    decoders._open.clear()
    gc.collect()
