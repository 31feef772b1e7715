"""Rows of equal size on disk: filled block by block by whoever needs one first, read by position.

Rows are read and written by position instead of through a memory map, so that a process holds what it asked
for and nothing more, however much of a large file it visits; what is read again comes from the system's page
cache, as with a map. A full disk is an error here, where a map would end the process.

Axes: n rows asked for, b blocks asked for.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.journal import HIDDEN
from kinema.data.remote import PLACE, stated
from kinema.schema import KinemaError

_ROWS, _STAMPS, _ABOUT, _LOCK = "rows", "stamps", "about.json", "lock"
_turns: dict[tuple[int, Path], threading.Lock] = {}  # of a process's threads, which its file locks let by


class DiskArray:
    """`rows` rows of `row_bytes` bytes in a folder. A block that bears the wanted stamp is filled.

    Blocks are filled in any process, thread and order; two that want the same one wait for each other. A
    block that its maker did not end, killed or failed, bears no stamp. A folder whose blocks all bear their
    stamps is never written to.
    """

    def __init__(self, folder: Path, *, rows: int, row_bytes: int, stamps: np.ndarray, what: str) -> None:
        """stamps: uint64 (blocks,), not 0: the state of what each block is made from. what: for errors."""
        self.folder, self.rows, self.row_bytes = folder, rows, row_bytes
        self._wanted, self._what = stamps, what
        self._filled = np.zeros(len(stamps), bool)  # as far as this process knows
        self._opened: dict[tuple[int, str], int] = {}
        self._identity: tuple[int, int] | None = None  # of the rows
        whole = self._is_whole()
        if whole:
            self._look(np.arange(len(stamps)))
        if not (whole and self.is_full):
            with self.errors():
                self._make_room()
        rows_file = self._file(_ROWS, os.O_RDONLY)  # kept open, so that no other file is known by its number
        self._identity = _identity(os.fstat(rows_file))

    def __len__(self) -> int:
        return self.rows

    @property
    def nbytes(self) -> int:
        return self.rows * self.row_bytes

    @property
    def is_full(self) -> bool:
        return bool(self._filled.all())

    def missing(self, blocks: np.ndarray) -> np.ndarray:
        """Those of the blocks (b,) that nobody has filled yet. Costs little where neighbours are on end."""
        self._look(blocks[~self._filled[blocks]])
        return blocks[~self._filled[blocks]]

    def fill(
        self, block: int, make: Callable[[], Iterator[tuple[int, np.ndarray]]], *, wait: bool = True
    ) -> bool:
        """Fill a block, unless it is filled: `make` gives first rows and what stands from there on.

        wait: False to leave a block that another process is filling. Returns whether it is filled now.
        """
        with self.errors(), self._alone(block, wait) as alone:
            if not alone:
                return False
            if len(self.missing(np.array([block]))):
                for first, values in make():
                    content = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
                    _write(self._file(_ROWS, os.O_RDWR), content, first * self.row_bytes)
                os.fsync(self._file(_ROWS, os.O_RDWR))  # else a power cut could keep the stamp alone
                stamp = self._wanted[block : block + 1].view(np.uint8)
                _write(self._file(_STAMPS, os.O_RDWR), stamp, 8 * block)
                self._filled[block] = True
        return True

    def take(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (n, row_bytes), a copy, of rows (n,) in any order. Their blocks must be filled."""
        wanted, back = np.unique(rows, return_inverse=True)
        twice = len(wanted) < len(rows)  # as in windows that overlap
        found = np.empty((len(wanted), self.row_bytes), np.uint8)
        to = np.arange(len(wanted)) if twice else np.argsort(back.reshape(-1))
        first = np.flatnonzero((np.diff(wanted, prepend=-2) != 1) | (np.diff(to, prepend=-2) != 1))
        lengths = np.diff(np.append(first, len(wanted)))
        file = self._file(_ROWS, os.O_RDONLY)
        for row, at, length in zip(wanted[first].tolist(), to[first].tolist(), lengths.tolist()):
            self._read(file, found[at : at + length], row * self.row_bytes)
        return found[back.reshape(-1)] if twice else found

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What a disk refuses as a KinemaError that names the place, the size and another way."""
        try:
            yield
        except OSError as error:
            told = f"{self._what} ({self.nbytes / 1e9:.3g} GB)"
            other = f"name another place with --cache or the environment variable {PLACE}"
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                place = self.folder.parent
                raise KinemaError(f"{told} cannot be kept in {place}: {error.strerror}; {other}") from error
            if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise KinemaError(f"{told} does not fit {self.folder}: {error.strerror}; {other}") from error
            raise

    def __getstate__(self) -> dict[str, object]:  # open files do not travel to another process
        return {**self.__dict__, "_opened": {}}

    def _is_whole(self) -> bool:
        """Whether the files are there at their full size."""
        try:
            sizes = [(self.folder / name).stat().st_size for name in (_ROWS, _STAMPS)]
        except FileNotFoundError:
            return False
        return sizes == [self.nbytes, 8 * len(self._wanted)]

    def _look(self, blocks: np.ndarray) -> None:
        """Learn which of these blocks (b,) are filled."""
        for run in np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1) if len(blocks) else ():
            stamps = os.pread(self._file(_STAMPS, os.O_RDONLY), 8 * len(run), 8 * int(run[0]))
            found = np.frombuffer(stamps, np.uint64)
            self._filled[run[: len(found)]] = found == self._wanted[run[: len(found)]]

    def _make_room(self) -> None:
        """The files at their full size, which takes no room yet; refused where there will not be enough."""
        self.folder.mkdir(parents=True, exist_ok=True)
        there = self.folder / _ROWS
        taken = there.stat().st_blocks * 512 if there.is_file() else 0
        if self.nbytes - taken > shutil.disk_usage(self.folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._is_whole():
            return
        for name, size in ((_STAMPS, 0), (_ROWS, self.nbytes), (_STAMPS, 8 * len(self._wanted))):
            with (self.folder / name).open("ab") as file:  # no stamp outlives the rows that it was for
                file.truncate(size)

    @contextmanager
    def _alone(self, block: int, wait: bool) -> Iterator[bool]:
        """Hold a block's own lock; it ends with the process, whose threads take turns."""
        with _turns.setdefault((os.getpid(), self.folder), threading.Lock()):
            lock = self._file(_LOCK, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, block)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                fcntl.lockf(lock, fcntl.LOCK_UN, 1, block)

    def _file(self, name: str, flags: int) -> int:
        """An open file; a forked process opens its own, because locks are a process's."""
        key = (os.getpid(), f"{name} {flags}")
        if key not in self._opened:
            try:
                file = os.open(self.folder / name, flags, 0o666)
                is_ours = name != _ROWS or self._identity in (None, _identity(os.fstat(file)))
            except FileNotFoundError:
                is_ours = False
            if not is_ours:
                raise KinemaError(f"{self.folder} was removed while it was in use; begin again")
            self._opened[key] = file
        return self._opened[key]

    def _read(self, file: int, into: np.ndarray, offset: int) -> None:
        view = into.data.cast("B")
        while len(view):
            count = os.preadv(file, [view], offset)
            if not count:
                raise KinemaError(f"{self.folder / _ROWS} is truncated; remove the folder to make it anew")
            view, offset = view[count:], offset + count


def _identity(state: os.stat_result) -> tuple[int, int]:
    """Which file it is, whatever bears its name later."""
    return state.st_dev, state.st_ino


def _write(file: int, content: np.ndarray, offset: int) -> None:
    view = content.data
    while len(view):
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count


def cache_folder(root: Path, named: Path | None = None) -> Path:
    """Where what is made of a set lies: `named`, else where KINEMA_CACHE says, else hidden in the set."""
    if named is None and os.environ.get(PLACE):
        named = Path(os.environ[PLACE])
    return root / HIDDEN / "cache" if named is None else named


def stamp_of(path: Path) -> int:
    """The state of a file, by size and time; never 0. Raises KinemaError where it is missing."""
    try:
        state = path.stat()
        size, time_ns = state.st_size, state.st_mtime_ns
    except FileNotFoundError:
        told = stated(path)  # as it will be when it is brought here
        if told is None:
            raise KinemaError(f"{path} is missing; run `kinema data verify`") from None
        size, time_ns = told
    digest = hashlib.blake2b(f"{size} {time_ns}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little") | 1


def about(folder: Path) -> dict[str, Any]:
    """What `keep_about` left; nothing where it left nothing."""
    try:
        return dict(json.loads((folder / _ABOUT).read_text()))
    except (OSError, ValueError):
        return {}


def keep_about(folder: Path, what: Mapping[str, Any]) -> None:
    temporary = folder / f"{_ABOUT}.{os.getpid()}.new"
    temporary.write_text(json.dumps(what))
    temporary.replace(folder / _ABOUT)
