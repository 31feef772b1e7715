"""Decoded pictures of a whole data set as one memory map on disk, built once and read at memory speed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kinema.data.journal import HIDDEN
from kinema.data.lerobot import Dataset
from kinema.data.picture import resize
from kinema.schema import KinemaError

_FORMAT = 1  # raise when the way pictures are decoded or resized changes: old caches are then built anew
_FRAMES, _DONE, _KEY = "frames.u8", "done.u8", "key.json"


class FrameCache:
    """All frames of a data set, resized: `cache[indices (n,)]` is uint8 (n, V, H, W, 3).

    The cache lies in `directory` (default: a hidden folder in the data set) under a name derived from the
    content of the data set, so a stale one is never read. Building shows a progress bar, goes on where a
    killed build stopped, and waits for another process that builds the same cache.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        size: int,
        cameras: tuple[str, ...] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.cameras = dataset.camera_names if cameras is None else tuple(cameras)
        self.size = size
        shape = (dataset.num_frames, len(self.cameras), size, size, 3)
        parent = directory or dataset.root / HIDDEN / "frames"
        self.path = parent / f"{size}px-{_content_key(dataset, self.cameras, size)}"
        with _cache_errors(self.path, shape):
            self.path.mkdir(parents=True, exist_ok=True)
            with _locked(self.path / "lock"):
                if not (self.path / _KEY).is_file():
                    self._build(dataset, shape)
        self._frames = np.memmap(self.path / _FRAMES, np.uint8, "r", shape=shape)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """uint8 (n, V, H, W, 3), a copy."""
        return np.asarray(self._frames[np.asarray(indices)])

    def _build(self, dataset: Dataset, shape: tuple[int, ...]) -> None:
        frames = _allocated(self.path / _FRAMES, shape)
        done = _allocated(self.path / _DONE, (dataset.num_episodes,))
        left = [e for e in range(dataset.num_episodes) if not done[e]]
        with tqdm(desc=f"decoding {dataset.root.name}", unit="frame", total=shape[0], leave=False) as bar:
            bar.update(shape[0] - sum(dataset.metadata.episodes[e].length for e in left))
            for episode in left:
                first, end = dataset.episode_bounds[episode]
                indices = np.arange(first, end)
                for view, camera in enumerate(self.cameras):
                    frames[first:end, view] = resize(dataset.frames(camera, indices), self.size)
                done[episode] = 1  # after its pictures: a kill in between decodes the episode again
                bar.update(end - first)
        frames.flush()
        temporary = self.path / (_KEY + ".new")
        temporary.write_text(json.dumps({"shape": shape, "cameras": self.cameras, "format": _FORMAT}))
        temporary.rename(self.path / _KEY)
        (self.path / _DONE).unlink()
        self._remove_stale()

    def _remove_stale(self) -> None:
        """Drop caches of this size that an earlier state of the data set left (own folder only)."""
        if self.path.parent.parent.name != HIDDEN:
            return
        for other in self.path.parent.glob(f"{self.size}px-*"):
            key = other / _KEY
            finished = other != self.path and key.is_file()
            if finished and tuple(json.loads(key.read_text())["cameras"]) == self.cameras:
                shutil.rmtree(other, ignore_errors=True)


def _allocated(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A writable memory map whose blocks exist: a full disk shows here and not as a crash later."""
    size = max(int(np.prod(shape)), 1)
    with path.open("ab") as file:
        if file.tell() != size:
            file.truncate(size)
            os.posix_fallocate(file.fileno(), 0, size)
    return np.memmap(path, np.uint8, "r+", shape=shape)


def _content_key(dataset: Dataset, cameras: tuple[str, ...], size: int) -> str:
    """A digest of everything the cached pictures depend on."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([_FORMAT, size, cameras, dataset.fps]).encode())
    files: dict[str, None] = {}
    for episode in dataset.metadata.episodes:
        for camera in cameras:
            key = dataset.camera_key(camera)
            clip = episode.clips.get(key)
            where = (clip.path, clip.start_s) if clip else (episode.data_path, 0.0)
            files[where[0]] = None
            digest.update(f"{episode.length} {where}".encode())
    for path in files:
        digest.update(_file_digest(dataset.root / path))
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except FileNotFoundError:
        raise KinemaError(f"{path} is missing; run `kinema data verify`") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _cache_errors(path: Path, shape: tuple[int, ...]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        size_gb = np.prod(shape, dtype=float) / 1e9
        shutil.rmtree(path, ignore_errors=True)
        raise KinemaError(f"the frame cache {path} needs {size_gb:.1f} GB: {error.strerror}") from error
