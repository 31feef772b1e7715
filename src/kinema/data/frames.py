"""A data set's pictures at the network's size: decoded when asked for, from a cache, or in memory.

    decode   no room; every picture is decoded anew each time it is asked for
    cache    decoded when first asked for, into a place the user names; from then on read there
    memory   the cache, filled at once and held in memory

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

from kinema.data.blocks import Blocks
from kinema.data.disk_array import DiskArray, about, cache_folder, keep_about, stamp_of
from kinema.data.index import Index
from kinema.data.picture import resize
from kinema.data.video import keyframe_interval
from kinema.schema import KinemaError

Way = Literal["decode", "cache", "memory"]
Images = Callable[[np.ndarray], np.ndarray]  # steps (n,) to uint8 (n, V, S, S, 3)

_FORMAT = 3  # raise when the way pictures are decoded or resized changes: old caches are then made anew
_AT_ONCE = 64  # pictures decoded at a time: what filling holds in memory at their native size
_SHORTEST, _LONGEST = 16, 256  # frames of a block
_FEW = 2_000  # pictures that are decoded sooner than processes are started


def images_of(
    index: Index, way: Way, *, size: int, cameras: tuple[str, ...], directory: Path | None = None,
    ahead: np.ndarray | None = None,
) -> Images:  # fmt: skip
    """The pictures of these cameras by frame. directory: where the cache lies; None: see `cache_folder`.

    ahead: frames (n,) that will be asked for at once; a cache has them before this returns

    Raises KinemaError where the way is none of the three, or disk or memory do not hold the pictures.
    """
    if way not in get_args(Way):
        raise KinemaError(f"pictures {way!r} are unknown; choices: {', '.join(get_args(Way))}")
    if way == "decode":
        return Decoded(index, size=size, cameras=cameras)
    cache = FrameCache(index, size=size, cameras=cameras, directory=directory)
    if way == "memory":
        return cache.in_memory().__getitem__
    if ahead is not None:
        cache.fill(ahead)
    return cache


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

    What is not there yet is decoded when it is asked for, with the block that it is in: no frame is decoded
    twice, in whatever order they come, where a block begins with a key frame. All processes that use the
    cache share what any of them has decoded, and what a killed one had.

    The cache is named after the episode table, and each block in it bears the size and time of the files
    that its pictures are from, so nothing stale is read. Where the disk has no room for all of it, it is
    refused when it is opened. A full cache is never written to.
    """

    def __init__(
        self, index: Index, *, size: int, cameras: tuple[str, ...] | None = None,
        directory: Path | None = None,
    ) -> None:  # fmt: skip
        self.cameras = index.camera_names if cameras is None else tuple(cameras)
        self.size, self._name = size, index.root.name
        folder = cache_folder(index.root, directory)
        self.path = folder / f"{size}px-{_key(index, self.cameras, size)}"
        self._decoded = Decoded(index, size=size, cameras=self.cameras)
        known = about(self.path).get("block")
        self._blocks = Blocks(index.episode_bounds, known or _block_length(index, self.cameras))
        of_episode = _stamps(index, self.cameras)
        self._array = DiskArray(
            self.path,
            rows=index.num_frames,
            row_bytes=len(self.cameras) * size * size * 3,
            stamps=of_episode[self._blocks.episode_of(np.arange(len(self._blocks)))],
            what=f"the pictures of {index.root}",
        )
        if not known:
            with self._array.errors():
                keep_about(self.path, {"cameras": list(self.cameras), "block": self._blocks.length})
            if directory is None and folder.is_relative_to(index.root):
                self._remove_stale()

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, steps: np.ndarray) -> np.ndarray:
        """uint8 (n, V, S, S, 3), a copy."""
        steps = np.asarray(steps, np.int64)
        self._fill(np.unique(self._blocks.of(steps)))
        return self._array.take(steps).reshape(-1, len(self.cameras), self.size, self.size, 3)

    __call__ = __getitem__

    def in_memory(self) -> np.ndarray:
        """All pictures as one array. Raises KinemaError where that is more than half of the free memory."""
        free = free_memory_bytes()
        if self._array.nbytes > free / 2:
            raise KinemaError(
                f"the pictures in {self.path} are {self._array.nbytes / 1e9:.1f} GB, and of memory only "
                f"{free / 1e9:.1f} GB are free; read them from the disk (pictures: cache)"
            )
        steps = np.arange(len(self))
        self.fill(steps)
        return self[steps]

    def fill(self, steps: np.ndarray, processes: int | None = None) -> None:
        """Decode what these steps (n,) need and is not there, in several processes, with a progress bar.

        processes: that decode; None: one for each core, or this one alone for a few pictures.
        """
        left = self._array.missing(np.unique(self._blocks.of(np.asarray(steps, np.int64))))
        if not len(left):
            return
        frames = self._frames(left)
        if processes is None:
            processes = cores() if frames * len(self.cameras) > _FEW else 1
        by_episode = np.split(left, np.flatnonzero(np.diff(self._blocks.episode_of(left))) + 1)
        said = f"decoding {self._name} into {frames * self._array.row_bytes / 1e9:.3g} GB"
        with tqdm(desc=said, unit="frame", total=frames, leave=False) as bar:
            for blocks in self._filled(by_episode, processes):
                bar.update(self._frames(blocks))

    def _frames(self, blocks: np.ndarray) -> int:
        """How many frames these blocks have."""
        return int(np.diff(self._blocks.frames(blocks)).sum())

    def _fill(self, blocks: np.ndarray) -> np.ndarray:
        """Fill those of the blocks that are missing, last those that another process is filling."""
        for wait in (False, True):
            for block in self._array.missing(blocks).tolist():
                self._array.fill(block, partial(self._pictures, block), wait=wait)
        return blocks

    def _pictures(self, block: int) -> Iterator[tuple[int, np.ndarray]]:
        first, end = self._blocks.frames(np.array([block]))[0].tolist()
        for begin in range(first, end, _AT_ONCE):
            yield begin, self._decoded(np.arange(begin, min(begin + _AT_ONCE, end)))

    def _filled(self, parts: list[np.ndarray], processes: int) -> Iterator[np.ndarray]:
        """Fill blocks by parts; yields each part when it is done."""
        if processes == 1 or len(parts) == 1:
            yield from map(self._fill, parts)
            return
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        pool = ProcessPoolExecutor(min(processes, len(parts)), context, _begin, (self,))
        try:
            yield from pool.map(_fill, parts)
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


def _fill(blocks: np.ndarray) -> np.ndarray:
    assert _cache is not None
    return _cache._fill(blocks)


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


def _block_length(index: Index, cameras: tuple[str, ...]) -> int:
    """Frames of a block: whole stretches between key frames, as they are in each camera's first video."""
    clips = [index.episodes.clips.get(index.camera_key(camera)) for camera in cameras]
    videos = [index.root / of.files.path(0) for of in clips if of is not None and len(of.files)]
    longest = max((keyframe_interval(video, _LONGEST) for video in videos), default=1)
    return longest * max(_SHORTEST // longest, 1)


def _key(index: Index, cameras: tuple[str, ...], size: int) -> str:
    """A name for what the rows are of: the episode table and the cameras."""
    records, keys = index.episodes, [index.camera_key(camera) for camera in cameras]
    digest = hashlib.blake2b(json.dumps([_FORMAT, size, keys, index.fps]).encode(), digest_size=8)
    for key in keys:
        if key in records.clips:
            digest.update(records.clips[key].start_s.tobytes())
    digest.update(records.length.tobytes())
    return digest.hexdigest()


def _stamps(index: Index, cameras: tuple[str, ...]) -> np.ndarray:
    """uint64 (E,): the state of the files that each episode's pictures are in."""
    records, stamps = index.episodes, np.zeros(index.num_episodes, np.uint64)
    for camera in cameras:
        key = index.camera_key(camera)
        files = records.clips[key].files if key in records.clips else records.data
        of_file = np.array([stamp_of(index.root / path) for path in files.paths()], np.uint64)
        stamps = stamps * np.uint64(0x9E3779B97F4A7C15) + of_file[files.of]
    return stamps | np.uint64(1)
