"""A data set's pictures at the network's size: decoded when asked for, from a cache, or in memory.

    decode   no room and no waiting; every picture is decoded anew each time it is asked for
    cache    decoded once, into a place the user names; read from there at the disk's speed
    memory   the cache, held in memory

All three give the same pictures.

Axes: n pictures asked for, V views, S image side.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from tqdm import tqdm

from kinema.data.disk_array import DiskArray, about, cache_folder, keep_about, stamp_of
from kinema.data.index import Index
from kinema.data.picture import resize
from kinema.schema import KinemaError

Way = Literal["decode", "cache", "memory"]
Images = Callable[[np.ndarray], np.ndarray]  # steps (n,) to uint8 (n, V, S, S, 3)

_FORMAT = 2  # raise when the way pictures are decoded or resized changes: old caches are then built anew
_BLOCK = 64  # pictures decoded at a time: what building holds in memory at their native size
_FEW = 2_000  # pictures that are decoded sooner than processes are started


def images_of(
    index: Index, way: Way, *, size: int, cameras: tuple[str, ...], directory: Path | None = None
) -> Images:
    """The pictures of these cameras by frame. directory: where the cache lies; None: see `cache_folder`.

    Raises KinemaError where the way is none of the three, or disk or memory do not hold the pictures.
    """
    if way not in get_args(Way):
        raise KinemaError(f"pictures {way!r} are unknown; choices: {', '.join(get_args(Way))}")
    if way == "decode":
        return Decoded(index, size=size, cameras=cameras)
    cache = FrameCache(index, size=size, cameras=cameras, directory=directory)
    return cache if way == "cache" else cache.in_memory().__getitem__


class Decoded:
    """Pictures decoded as they are asked for, those of one video in the order of their times."""

    def __init__(self, index: Index, *, size: int, cameras: tuple[str, ...]) -> None:
        self._index, self._size, self.cameras = index, size, cameras

    def __call__(self, steps: np.ndarray) -> np.ndarray:
        views = [self.view(camera, np.asarray(steps)) for camera in self.cameras]
        return np.stack(views, 1)

    def view(self, camera: str, steps: np.ndarray) -> np.ndarray:
        """uint8 (n, S, S, 3) of one camera."""
        if not len(steps):
            return np.empty((0, self._size, self._size, 3), np.uint8)
        pictures = self._index.frames(camera, steps)
        if pictures.dtype != np.uint8 or pictures.shape[-1] != 3:
            raise KinemaError(
                f"{self._index.root}: camera {camera!r} gives {pictures.dtype} {pictures.shape[1:]}, "
                f"not colours"
            )
        return resize(pictures, self._size)


class FrameCache:
    """All frames of a data set, resized: `cache[steps (n,)]` is uint8 (n, V, S, S, 3).

    The cache is named after the episode table, and each episode in it after the size and time of the files
    that its pictures are from, so nothing stale is read. Building decodes a few pictures at a time, in
    several processes, shows a progress bar, goes on where a killed build stopped, and shares the work with
    another process that builds the same cache. What it needs on the disk is said before it begins, and
    refused where it is not there. A finished cache is never written to.
    """

    def __init__(
        self, index: Index, *, size: int, cameras: tuple[str, ...] | None = None,
        directory: Path | None = None, processes: int | None = None,
    ) -> None:  # fmt: skip
        """processes: that decode; None: one for each core, or this one alone for a few pictures."""
        self.cameras = index.camera_names if cameras is None else tuple(cameras)
        self.size = size
        folder = cache_folder(index.root, directory)
        self._decoded = Decoded(index, size=size, cameras=self.cameras)
        self._bounds = index.episode_bounds
        keys = [index.camera_key(camera) for camera in self.cameras]
        self._array = DiskArray(
            folder / f"{size}px-{_key(index, keys, size)}",
            rows=index.num_frames,
            row_bytes=len(self.cameras) * size * size * 3,
            stamps=_stamps(index, keys),
            what=f"the pictures of {index.root}",
        )
        if not self._array.is_full:
            self._build(index, processes)
            if directory is None and folder.is_relative_to(index.root):
                self._remove_stale()

    @property
    def path(self) -> Path:
        return self._array.folder

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, steps: np.ndarray) -> np.ndarray:
        """uint8 (n, V, S, S, 3), a copy."""
        rows = self._array.take(np.asarray(steps, np.int64))
        return rows.reshape(-1, len(self.cameras), self.size, self.size, 3)

    __call__ = __getitem__

    def in_memory(self) -> np.ndarray:
        """All pictures as one array. Raises KinemaError where that is more than half of the free memory."""
        free = free_memory_bytes()
        if self._array.nbytes > free / 2:
            raise KinemaError(
                f"the pictures in {self.path} are {self._array.nbytes / 1e9:.1f} GB, and of memory only "
                f"{free / 1e9:.1f} GB are free; read them from the disk (pictures: cache)"
            )
        return self[np.arange(len(self))]

    def fill(self, episode: int) -> int:
        """Decode an episode, unless it is there or another process is at it. Returns its number of frames."""
        self._array.fill(episode, partial(self._episode, episode), wait=False)
        return int(np.diff(self._bounds[episode])[0])

    def _episode(self, episode: int) -> Iterator[tuple[int, np.ndarray]]:
        first, end = self._bounds[episode].tolist()
        for begin in range(first, end, _BLOCK):
            yield begin, self._decoded(np.arange(begin, min(begin + _BLOCK, end)))

    def _build(self, index: Index, processes: int | None) -> None:
        left = self._array.missing(np.arange(index.num_episodes))
        lengths = np.diff(self._bounds, axis=1)[:, 0]
        frames = int(lengths[left].sum())
        if processes is None:
            processes = cores() if frames * len(self.cameras) > _FEW else 1
        said = f"decoding {index.root.name} into {self._array.nbytes / 1e9:.3g} GB"
        with tqdm(desc=said, unit="frame", total=len(self), initial=len(self) - frames, leave=False) as bar:
            for decoded in self._filled(left.tolist(), processes):
                bar.update(decoded)
            for episode in self._array.missing(left).tolist():  # what other processes were at
                self._array.fill(episode, partial(self._episode, episode))
        keep_about(self.path, {"cameras": list(self.cameras)})

    def _filled(self, episodes: list[int], processes: int) -> Iterator[int]:
        """Fill episodes; yields how many frames each has, as they are done."""
        if processes == 1 or len(episodes) == 1:
            yield from map(self.fill, episodes)
            return
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        pool = ProcessPoolExecutor(min(processes, len(episodes)), context, _begin, (self,))
        try:
            yield from pool.map(_fill, episodes)
        except BrokenProcessPool:
            raise KinemaError(
                f"a process that decoded into {self.path} was killed (memory?); go on"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)

    def _remove_stale(self) -> None:
        """Drop caches of this size that an earlier state of the data set left (own folder only)."""
        for other in self.path.parent.glob(f"{self.size}px-*"):
            if other != self.path and about(other).get("cameras") == list(self.cameras):
                shutil.rmtree(other, ignore_errors=True)


_cache: FrameCache | None = None  # of a decoding process


def _begin(cache: FrameCache) -> None:
    global _cache
    _cache = cache


def _fill(episode: int) -> int:
    assert _cache is not None
    return _cache.fill(episode)


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory_bytes() -> int:
    """Memory that can be had without pushing anything out, as far as the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # no /proc: half of what there is


def _key(index: Index, keys: list[str], size: int) -> str:
    """A name for what the rows are of: the episode table and the cameras."""
    records = index.episodes
    digest = hashlib.blake2b(json.dumps([_FORMAT, size, keys, index.fps]).encode(), digest_size=8)
    for key in keys:
        if key in records.clips:
            digest.update(records.clips[key].start_s.tobytes())
    digest.update(records.length.tobytes())
    return digest.hexdigest()


def _stamps(index: Index, keys: list[str]) -> np.ndarray:
    """uint64 (E,): the state of the files that each episode's pictures are in."""
    records, stamps = index.episodes, np.zeros(index.num_episodes, np.uint64)
    for key in keys:
        files = records.clips[key].files if key in records.clips else records.data
        of_file = np.array([stamp_of(index.root / path) for path in files.paths()], np.uint64)
        stamps = stamps * np.uint64(0x9E3779B97F4A7C15) + of_file[files.of]
    return stamps | np.uint64(1)
