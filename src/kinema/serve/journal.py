"""The write-ahead journal of usage: rows on disk before the answer goes out, booked later.

A journal is a folder of segments. A segment is a file whose space is taken when it is made, so that a full
disk is noticed before work is begun and not when its usage is to be written. Rows are lines of
`checksum json`; zeros follow the last one, and a line that a kill tore has no end and counts as not written.
Each segment is locked by the process that uses it; what a dead process left is read by the next.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from kinema.serve.store import private_folder

SUFFIX = ".journal"
SEGMENT_BYTES = 1 << 20
LOW_BYTES = 64 * 1024  # room for what is in flight; below it the next segment must stand ready

Write = Callable[[int, bytes, int], int]  # os.pwrite, or a disk that fails in a test


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metered answer. (the segment's name, sequence) is unique."""

    sequence: int
    time_s: float
    key_id: str
    model: str
    body: str
    actions: int
    milliseconds: float
    cost_nano: int
    currency: str

    def to_line(self, sequence: int) -> bytes:
        """The line of this row at its place in a segment."""
        values = list({**vars(self), "sequence": sequence}.values())
        text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
        return b"%08x %s\n" % (zlib.crc32(text), text)


def row_from_line(line: bytes) -> Row | None:
    """The row in a line without its end, or None where the checksum says that it is damaged."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    return Row(**dict(zip(Row.__dataclass_fields__, json.loads(text), strict=True)))


class Segment:
    """One file. `end` is where the next row goes, `booked` how far its rows are in the database."""

    def __init__(self, path: Path, fd: int, end: int, size: int, write: Write) -> None:
        self.path, self.name, self.end, self.size = path, path.name.removesuffix(SUFFIX), end, size
        self.booked = self.rows = self.damaged = 0
        self.dirty = False
        self._fd, self._write = fd, write
        self._open = threading.Lock()  # held while the file must not be closed under a slow call

    @classmethod
    def make(cls, folder: Path, size: int, write: Write) -> Segment:
        """A new, empty one with all its space on the disk. Raises OSError, and then leaves nothing."""
        path = folder / f"{uuid4().hex}{SUFFIX}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_all(write, fd, bytes(size), 0)
            os.fsync(fd)
            _sync_folder(folder)
        except OSError:
            path.unlink()
            os.close(fd)
            raise
        return cls(path, fd, 0, size, write)

    @classmethod
    def take_over(cls, path: Path) -> Segment | None:
        """What another process left behind, or None while that process lives."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        size = os.fstat(fd).st_size
        end = os.pread(fd, size, 0).rfind(b"\n") + 1
        return cls(path, fd, end, size, os.pwrite)

    @property
    def room(self) -> int:
        return self.size - self.end

    def append(self, line: bytes) -> None:
        """Raises OSError; the row does not count then, and no other may follow in this segment."""
        _write_all(self._write, self._fd, line, self.end)
        self.end += len(line)
        self.rows += 1
        self.dirty = True

    def sync(self) -> None:
        """Returns when every row so far is on the disk. Raises OSError."""
        with self._open:
            self.dirty = False
            if self._fd >= 0:
                os.fdatasync(self._fd)

    def read(self, offset: int, most: int) -> tuple[list[Row], int]:
        """At most `most` rows from a byte offset on, and the offset behind them."""
        rows: list[Row] = []
        data = os.pread(self._fd, self.end - offset, offset)
        for line in data.split(b"\n")[:-1][:most]:
            row = row_from_line(line)
            if row is None:
                self.damaged += 1
            else:
                rows.append(row)
            offset += len(line) + 1
        return rows, offset

    def close(self, *, delete: bool) -> None:
        """Give the lock back. A segment with damaged lines is kept for a person to read."""
        if delete and self.damaged:
            self.path.rename(self.path.with_suffix(".damaged"))
        elif delete:
            self.path.unlink(missing_ok=True)
        with self._open:
            os.close(self._fd)
            self._fd = -1


class Journal:
    """The segments of one process: the one written to, one that stands ready, and those to be booked.

    Thread-safe. `append` only writes memory of the operating system; `tend` does what may take long and
    belongs in a background thread.
    """

    def __init__(self, folder: Path, *, size: int = SEGMENT_BYTES, write: Write = os.pwrite) -> None:
        self.folder = private_folder(folder)
        self._problem = "the usage journal is not started"
        self._size, self._low, self._write = size, min(LOW_BYTES, size // 4), write
        self._lock = threading.Lock()
        self._current: Segment | None = None
        self._spare: Segment | None = None
        self._full = [s for path in sorted(folder.glob(f"*{SUFFIX}")) if (s := Segment.take_over(path))]

    @property
    def fault(self) -> str | None:
        """Why no work should be begun: what is in flight may not find room any more. None: all is well."""
        with self._lock:
            if self._spare is not None or (self._current is not None and self._current.room >= self._low):
                return None
            return self._problem or "the usage journal waits for room on the disk"

    def append(self, row: Row) -> None:
        """Write one row; its sequence number is given here. Raises OSError when it is not written."""
        with self._lock:
            if self._current is None:
                raise OSError(self._problem)
            line = row.to_line(self._current.rows)
            if len(line) > self._current.room:
                line = row.to_line(self._turn().rows)
            try:
                self._current.append(line)
            except OSError as error:
                self._fail(error)
                raise

    def tend(self) -> None:
        """Ask the disk to keep what was written, and have the next segment ready when it is needed.

        Never raises: what went wrong is the `fault`, until a later call succeeds.
        """
        try:
            self.sync()
            with self._lock:
                low = self._current is None or self._current.room < self._size // 2
                missing = self._spare is None and low
            if missing:
                spare = Segment.make(self.folder, self._size, self._write)
                with self._lock:
                    self._spare = spare
                    if self._current is None:
                        self._current, self._spare = spare, None
            self._problem = ""
        except OSError as error:
            self._problem = _in_words(error)

    def sync(self) -> None:
        """Put every row that was appended before this call on the disk. Raises OSError."""
        with self._lock:
            dirty = [s for s in (*self._full, self._current) if s is not None and s.dirty]
        for segment in dirty:
            try:
                segment.sync()
            except OSError as error:  # what the disk did not take once, it may have dropped
                with self._lock:
                    self._fail(error)
                raise

    def to_book(self) -> list[Segment]:
        """Every segment with rows that may not be in the database yet, oldest first."""
        with self._lock:
            return [s for s in (*self._full, self._current) if s is not None]

    def let_go(self, segment: Segment) -> None:
        """Delete a segment that is full and booked to its end."""
        with self._lock:
            if segment is self._current or segment.booked < segment.end:
                return
            self._full.remove(segment)
        segment.close(delete=True)

    def close(self) -> None:
        """Stop taking rows. What is booked is deleted; the rest stays for the next process."""
        with self._lock:
            segments = [s for s in (*self._full, self._current, self._spare) if s is not None]
            self._full, self._current, self._spare, self._problem = (
                [],
                None,
                None,
                "the usage journal is closed",
            )
        for segment in segments:
            segment.close(delete=segment.booked >= segment.end)

    def _turn(self) -> Segment:
        """Go on in the segment that stands ready. Under the lock."""
        if self._spare is None:
            raise OSError(self._problem or "the usage journal has no room left")
        if self._current is not None:
            self._full.append(self._current)
        self._current, self._spare = self._spare, None
        return self._current

    def _fail(self, error: OSError) -> None:
        """No row may follow a torn one, so this segment is at its end. Under the lock."""
        if self._current is not None:
            self._full.append(self._current)
        self._current, self._spare = self._spare, None
        self._problem = _in_words(error)


def _write_all(write: Write, fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = write(fd, bytes(view), offset)
        view, offset = view[written:], offset + written


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _in_words(error: OSError) -> str:
    return f"the usage journal cannot be written: {error.strerror or error}"
