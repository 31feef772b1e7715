"""Durable changes to a data set: all files of a change appear, or none does.

A change is written below `.kinema/staging`, flushed to the disk, and committed by renaming that folder to
`.kinema/journal`. From there its files are moved to their places, `meta/info.json` last, so the counts
never promise what is not there. A kill before the rename leaves the old state, a kill after it leaves a
journal that `recover` plays to the end; playing it twice does no harm.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TypeVar

from kinema.schema import KinemaError

HIDDEN = ".kinema"  # folder below the data set for what is not part of the format: journal, caches, backups
_STAGING = f"{HIDDEN}/staging"
_JOURNAL = f"{HIDDEN}/journal"
_LOCK = f"{HIDDEN}/writer.lock"
_REMOVE = "remove.json"  # inside the journal: files of the old state that the new state no longer has


R = TypeVar("R")


class Transaction:
    """One change to the files below `root`; nothing is visible before `commit`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._staging = root / _STAGING
        discard_staging(root)
        self._staging.mkdir(parents=True)

    def path(self, relative: str) -> Path:
        """Where to write the new version of the file `relative` (to the data set's folder)."""
        path = self._staging / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self, *, remove: tuple[str, ...] = ()) -> None:
        """Make the change durable, then move its files to their places and delete those in `remove`."""
        new = set(_files_below(self._staging))
        (self._staging / _REMOVE).write_text(json.dumps(sorted(set(remove) - new)))
        for folder, _, names in os.walk(self._staging):
            for name in names:
                flush(Path(folder) / name)
            flush(Path(folder))
        self._staging.rename(self._root / _JOURNAL)
        flush(self._root / HIDDEN)
        recover(self._root)

    def staged(self) -> list[str]:
        """The files of the change so far, as paths below the data set."""
        return sorted(_files_below(self._staging))

    def abandon(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)


def is_pending(root: Path) -> bool:
    """Whether a committed change waits below `root` to be played to the end."""
    return (root / _JOURNAL).is_dir()


def has_leftovers(root: Path) -> bool:
    """Whether an uncommitted change (the running episode of a killed recording) lies below `root`."""
    return (root / _STAGING).is_dir()


def discard_staging(root: Path) -> bool:
    found = has_leftovers(root)
    shutil.rmtree(root / _STAGING, ignore_errors=True)
    return found


def recover(root: Path) -> bool:
    """Play a committed change to the end. Returns whether there was one."""
    journal = root / _JOURNAL
    if not journal.is_dir():
        return False
    discard_staging(root)
    touched = set()
    for relative in _in_publishing_order(journal):
        target = root / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(journal / relative, target)
        touched.add(target.parent)
    for relative in json.loads((journal / _REMOVE).read_text()):
        (root / relative).unlink(missing_ok=True)
    for folder in touched:
        flush(folder)
    journal.rename(root / _STAGING)  # done: what is left of it is refuse
    discard_staging(root)
    return True


def _in_publishing_order(journal: Path) -> list[str]:
    files = [name for name in _files_below(journal) if name != _REMOVE]
    # info.json last; the folders it counts (data, videos) before the metadata that points into them
    return sorted(files, key=lambda f: (f == "meta/info.json", f.startswith("meta/"), f))


def _files_below(folder: Path) -> list[str]:
    return [str(PurePosixPath(p.relative_to(folder))) for p in folder.rglob("*") if p.is_file()]


def flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn a full disk or a file-size limit into a KinemaError that says what was and what was not saved."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise KinemaError(
                f"{doing}: {error.strerror}; nothing saved before is lost. Free space and resume."
            ) from error
        raise


class WriterLock:
    """Only one process writes a data set at a time; the lock ends with the process, however it ends."""

    def __init__(self, root: Path) -> None:
        path = root / _LOCK
        self._made = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise KinemaError(f"{root} is being written by another process") from None

    def release(self, *, unused: bool = False) -> None:
        """unused: nothing was written; the lock's file goes, and the folders that were made for it."""
        if unused:
            Path(self._file.name).unlink(missing_ok=True)
            with suppress(OSError):  # something else lies there
                for folder in self._made:
                    folder.rmdir()
        self._file.close()


def is_being_written(root: Path) -> bool:
    """Whether another writer holds the data set at this moment. Writes nothing."""
    try:
        with (root / _LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock was ever taken, or locks cannot be had here
        return False
    return False


def read_quietly(root: Path, read: Callable[[], R], *, sleep: Callable[[float], None] = time.sleep) -> R:
    """What `read` gives of one state of the data set, though a writer may be at work on it.

    A reading during which a change came is done again, for two seconds at most. Raises KinemaError when a
    change was interrupted, or when the writer leaves no room.
    """
    for _ in range(100):
        if is_pending(root) and not is_being_written(root):
            raise KinemaError(
                f"{root}: a change was interrupted while its files were moved to their places; nothing is "
                f"lost: run `kinema data repair {root}`"
            )
        before = _state(root)
        try:
            result = read()
        except KinemaError:
            if before == _state(root) is not None:
                raise
        else:
            if before == _state(root) is not None:
                return result
        sleep(0.02)
    raise KinemaError(f"{root} is being recorded by another process; read it again in a moment")


def _state(root: Path) -> tuple[tuple[int, int], ...] | None:
    """Which state of the data set is on the disk; None while a change is moved to its place.

    Every change comes and goes as a folder in the hidden one, so that its time tells of changes that leave
    info.json alone.
    """
    if is_pending(root):
        return None
    found = []
    for path in (root / "meta/info.json", root / HIDDEN):
        try:
            found.append((path.stat().st_mtime_ns, path.stat().st_ino))
        except OSError:
            found.append((0, 0))
    return tuple(found)
