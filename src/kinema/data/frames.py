"""Decoded pictures of a whole data set as one memory map on disk, built once and read at memory speed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
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
_BLOCK = 64  # pictures decoded at a time: what building holds in memory at their native size
PLACE = "KINEMA_CACHE"  # the environment's word for where caches are kept
_log = logging.getLogger(__name__)


class FrameCache:
    """All frames of a data set, resized: `cache[indices (n,)]` is uint8 (n, V, H, W, 3).

    The cache lies in `directory`, else in the folder that KINEMA_CACHE names, else in a hidden folder of the
    data set, under a name derived from the content of the data set, so a stale one is never read. Building
    decodes a few pictures at a time straight into the map, shows a progress bar, goes on where a killed build
    stopped, and waits for another process that builds the same cache. What it needs on the disk is said
    before it begins, and refused where it is not there. A finished cache is never written to.
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
        named = directory or (Path(os.environ[PLACE]) if os.environ.get(PLACE) else None)
        parent = named or dataset.root / HIDDEN / "frames"
        self.path = parent / f"{size}px-{_content_key(dataset, self.cameras, size, parent)}"
        self._own = named is None
        if not (self.path / _KEY).is_file():
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

    def in_memory(self) -> np.ndarray | FrameCache:
        """All pictures as one array, or this cache itself where that is more than half of the free memory."""
        free = free_memory_bytes()
        if self._frames.nbytes > free / 2:
            _log.warning(
                "%s: %.1f GB of pictures stay on the disk, since %.1f GB of memory are free",
                self.path, self._frames.nbytes / 1e9, free / 1e9,
            )  # fmt: skip
            return self
        return np.array(self._frames)

    def _build(self, dataset: Dataset, shape: tuple[int, ...]) -> None:
        _room(self.path, shape)
        frames = _allocated(self.path / _FRAMES, shape)
        done = _allocated(self.path / _DONE, (dataset.num_episodes,))
        left = [e for e in range(dataset.num_episodes) if not done[e]]
        size_gb = np.prod(shape, dtype=float) / 1e9
        said = f"decoding {dataset.root.name} into {size_gb:.3g} GB"
        with tqdm(desc=said, unit="frame", total=shape[0], leave=False) as bar:
            bar.update(shape[0] - sum(dataset.metadata.episodes[e].length for e in left))
            for episode in left:
                first, end = dataset.episode_bounds[episode]
                for view, camera in enumerate(self.cameras):
                    for begin in range(first, end, _BLOCK):
                        indices = np.arange(begin, min(begin + _BLOCK, end))
                        pictures = dataset.frames(camera, indices)
                        frames[indices, view] = resize(_colours(dataset, camera, pictures), self.size)
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
        if not self._own:
            return
        for other in self.path.parent.glob(f"{self.size}px-*"):
            key = other / _KEY
            finished = other != self.path and key.is_file()
            if finished and tuple(json.loads(key.read_text())["cameras"]) == self.cameras:
                shutil.rmtree(other, ignore_errors=True)


def free_memory_bytes() -> int:
    """Memory that can be had without pushing anything out, as far as the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # no /proc: half of what there is


def _colours(dataset: Dataset, camera: str, pictures: np.ndarray) -> np.ndarray:
    if pictures.dtype != np.uint8 or pictures.shape[-1] != 3:
        raise KinemaError(
            f"{dataset.root}: camera {camera!r} gives {pictures.dtype} {pictures.shape[1:]}, not colours"
        )
    return pictures


def _room(path: Path, shape: tuple[int, ...]) -> None:
    """Raise OSError (no space) unless the disk holds what is still to be written of such a cache."""
    there = path / _FRAMES
    needed = int(np.prod(shape)) - (there.stat().st_blocks * 512 if there.is_file() else 0)
    if needed > shutil.disk_usage(path).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _allocated(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A writable memory map whose blocks exist: a full disk shows here and not as a crash later."""
    size = max(int(np.prod(shape)), 1)
    with path.open("ab") as file:
        if file.tell() != size:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # macOS has none
                os.posix_fallocate(file.fileno(), 0, size)
    return np.memmap(path, np.uint8, "r+", shape=shape)


def _content_key(dataset: Dataset, cameras: tuple[str, ...], size: int, parent: Path) -> str:
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
    known = _Digests(parent, dataset.root)
    for path in files:
        digest.update(known.of(path))
    known.save()
    return digest.hexdigest()


class _Digests:
    """Digests of a data set's files; one of the same size and time is read once, not at each opening."""

    def __init__(self, parent: Path, root: Path) -> None:
        name = hashlib.blake2b(str(root.resolve()).encode(), digest_size=8).hexdigest()
        self._path, self._root = parent / f"digests-{name}.json", root
        try:
            self._known: dict[str, list] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self._known = {}
        self._changed = False

    def of(self, path: str) -> bytes:
        try:
            state = (self._root / path).stat()
        except FileNotFoundError:
            raise KinemaError(f"{self._root / path} is missing; run `kinema data verify`") from None
        stamp = [state.st_size, state.st_mtime_ns, state.st_ino]
        entry = self._known.get(path)
        if isinstance(entry, list) and entry[:3] == stamp:
            return bytes.fromhex(entry[3])
        found = _file_digest(self._root / path)
        self._known[path], self._changed = [*stamp, found.hex()], True
        return found

    def save(self) -> None:
        if not self._changed:
            return
        temporary = self._path.with_suffix(f".{os.getpid()}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known))
            temporary.replace(self._path)
        except OSError:  # a place that may only be read: they are read again the next time
            temporary.unlink(missing_ok=True) if os.access(self._path.parent, os.W_OK) else None


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _cache_errors(path: Path, shape: tuple[int, ...]) -> Iterator[None]:
    size_gb = np.prod(shape, dtype=float) / 1e9
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise KinemaError(
                f"decoded pictures ({size_gb:.3g} GB) cannot be kept in {path.parent}: {error.strerror}; "
                f"name another place with --cache or the environment variable {PLACE}"
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        shutil.rmtree(path, ignore_errors=True)
        raise KinemaError(
            f"the frame cache {path} needs {size_gb:.3g} GB: {error.strerror}; "
            f"--cache or {PLACE} names another place"
        ) from error
