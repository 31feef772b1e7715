"""The outbox of usage: rows on the disk before the answer goes out, booked in the database later.

A folder with one SQLite file for each server process, which holds its file's lock as long as it lives. What a
dead process left is taken over by the next. A commit (write-ahead log, synchronous) is on the disk when it
returns. A file keeps free pages, and a log as long as it will ever be, so that a full disk is noticed before
work is begun and not when its usage is to be written. SQLite does not check the pages it reads: a checksum
for each row says whether it is what was written.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import msgspec

from kinema.serve.store import private_folder

SUFFIX, DAMAGED_SUFFIX = ".outbox", ".damaged"
RESERVE_BYTES = 1 << 20
_PAGE_BYTES = 4096
_LOW_PAGES = 16  # room for what is in flight
_SET_UP = (
    f"PRAGMA page_size = {_PAGE_BYTES}",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY, checksum INTEGER, row BLOB)",
)

log = logging.getLogger("kinema.serve")
Connect = Callable[..., sqlite3.Connection]  # sqlite3.connect, or a disk that fails in a test


class Row(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One metered answer. (the file's name, sequence) is unique."""

    sequence: int = 0
    time_s: float
    key_id: str
    model: str
    body: str
    actions: int
    milliseconds: float
    cost_nano: int
    currency: str


_decode = msgspec.json.Decoder(Row).decode


class OutboxFile:
    """One file. `end` is its last row, `booked` the last in the database, `room` how many pages are free.

    Thread-safe. Methods raise sqlite3.Error; making one that another process holds does so too.
    """

    def __init__(self, path: Path, connect: Connect) -> None:
        self.path, self.name = path, path.stem
        self.booked, self.room = -1, 0
        self._damaged: set[int] = set()
        self._lock = threading.Lock()
        self._connection = connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        try:
            for statement in _SET_UP:
                self._connection.execute(statement)
            found = self._connection.execute("SELECT coalesce(max(id), -1) FROM answers")
            self.end: int = found.fetchone()[0]
        except sqlite3.Error:
            self._connection.close()
            raise

    def append(self, rows: Sequence[Row]) -> None:
        """All of them, or none; on the disk when this returns. Their sequence numbers are given here."""
        values = []
        for number, row in enumerate(rows, self.end + 1):
            line = msgspec.json.encode(msgspec.structs.replace(row, sequence=number))
            values.append((number, zlib.crc32(line), line))
        with self._changing() as connection:
            connection.executemany("INSERT INTO answers VALUES (?, ?, ?)", values)
        self.end += len(rows)

    def read(self, after: int, most: int) -> tuple[list[Row], int]:
        """At most `most` rows behind a sequence number, and the last number read; damaged ones left out."""
        query = "SELECT id, checksum, row FROM answers WHERE id > ? ORDER BY id LIMIT ?"
        with self._lock:
            found = self._connection.execute(query, (after, most)).fetchall()
        self._damaged |= {number for number, checksum, line in found if zlib.crc32(line) != checksum}
        rows = [_decode(line) for number, _, line in found if number not in self._damaged]
        return rows, found[-1][0] if found else after

    def forget(self, booked: int) -> None:
        """The rows up to this one are in the database. Damaged ones stay, for a person to read.

        Never raises: what is not deleted now is with the next.
        """
        self.booked = booked
        kept = ", ".join(map(str, self._damaged))
        with suppress(sqlite3.Error), self._changing() as connection:
            connection.execute(f"DELETE FROM answers WHERE id <= ? AND id NOT IN ({kept})", (self.booked,))

    def make_room(self, size: int) -> None:
        """Have `size` bytes of free pages, and a log of that length that is written over from its half.

        Raises OSError too, where the disk has no room.
        """
        # A log that holds pages for which the file cannot grow could never be written over again.
        if shutil.disk_usage(self.path.parent).free < 3 * size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self._changing() as connection:
            connection.execute("DROP TABLE IF EXISTS reserve")  # of a try that broke off
            connection.execute("CREATE TABLE reserve (bytes BLOB)")
            connection.execute("INSERT INTO reserve VALUES (zeroblob(?))", (size,))
        with self._lock:
            self._connection.execute("PRAGMA wal_checkpoint")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {max(1, size // _PAGE_BYTES // 2)}")
        with self._changing() as connection:
            connection.execute("DROP TABLE reserve")

    def close(self) -> None:
        """Give the lock back, and delete the file if all is booked. Never raises."""
        with self._lock, suppress(sqlite3.Error):
            left = self._connection.execute("SELECT 1 FROM answers WHERE id > ?", (self.booked,)).fetchone()
            self._connection.close()
            if self._damaged and left is None:
                self.path.rename(self.path.with_suffix(DAMAGED_SUFFIX))
            elif left is None:
                self.path.unlink()
                Path(f"{self.path}-wal").unlink(missing_ok=True)  # which a full disk may have kept
        self._connection.close()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
                self.room = self._connection.execute("PRAGMA freelist_count").fetchone()[0]
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise


class Outbox:
    """The files that one process has: its `own`, and those that dead ones left. Thread-safe.

    `append` waits for the disk; `tend` may take long too, and belongs in a background thread.
    """

    def __init__(
        self, folder: Path, *, size: int = RESERVE_BYTES, connect: Connect = sqlite3.connect
    ) -> None:
        self.folder = private_folder(folder)
        self._problem = "the usage outbox is not started"
        self._size, self._connect = size, connect
        self._low = min(_LOW_PAGES, size // _PAGE_BYTES // 4)
        self.own: OutboxFile | None = None
        self._left = [f for path in sorted(folder.glob(f"*{SUFFIX}")) if (f := _taken_over(path, connect))]

    @property
    def fault(self) -> str | None:
        """Why no work should be begun: what is in flight may not find room any more. None: all is well."""
        if self.own is not None and self.own.room >= self._low:
            return None
        return self._problem or "the usage outbox waits for room on the disk"

    def append(self, rows: Sequence[Row]) -> None:
        """Write these rows, all or none. Raises OSError when they are not written."""
        if self.own is None:
            raise OSError(self._problem)
        try:
            self.own.append(rows)
        except sqlite3.Error as error:
            self._problem, self.own.room = _in_words(error), 0
            raise OSError(self._problem) from error

    def tend(self) -> None:
        """Have room for what comes. Never raises: what went wrong is the `fault`, until this succeeds."""
        try:
            if self.own is None:
                self.own = self._made()
            elif self._problem or self.own.room < self._size // _PAGE_BYTES // 2:
                self.own.make_room(self._size)
            self._problem = ""
        except (OSError, sqlite3.Error) as error:
            self._problem = _in_words(error)

    def _made(self) -> OutboxFile:
        path, made = self.folder / f"{uuid4().hex}{SUFFIX}", None
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            made = OutboxFile(path, self._connect)
            made.make_room(self._size)
        except (OSError, sqlite3.Error):
            path.unlink() if made is None else made.close()
            raise
        return made

    def to_book(self) -> list[OutboxFile]:
        """Every file with rows that may not be in the database yet."""
        return [file for file in (*self._left, self.own) if file is not None]

    def booked(self, file: OutboxFile) -> None:
        """All its rows are in the database: those of the dead are deleted."""
        if file in self._left:
            self._left.remove(file)
            file.close()

    def set_aside(self, file: OutboxFile, error: sqlite3.Error) -> None:
        """A file that SQLite cannot read is kept for a person, and stands in no other's way."""
        log.error("usage in %s cannot be read and is kept: %s", file.path, error)
        if file in self._left:
            self._left.remove(file)
            file._connection.close()

    def close(self) -> None:
        """Stop taking rows. What is booked is deleted; the rest stays for the next process."""
        files = self.to_book()
        self._left, self.own, self._problem = [], None, "the usage outbox is closed"
        for file in files:
            file.close()


def _taken_over(path: Path, connect: Connect) -> OutboxFile | None:
    """What a dead process left; None while it lives, or where it is no database and is kept as it is."""
    try:
        return OutboxFile(path, connect)
    except sqlite3.Error as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            log.error("usage in %s cannot be read and is kept: %s", path, error)
        return None


def _in_words(error: OSError | sqlite3.Error) -> str:
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    told = "No space left on the disk" if full else getattr(error, "strerror", None) or error
    return f"the usage outbox cannot be written: {told}"
