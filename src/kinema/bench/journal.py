"""The run's journal: one JSON line per finished episode, on disk before its worker gets the next one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Generic, Protocol, TypeVar

from kinema.bench.episode import EpisodeRecord
from kinema.bench.identity import changed
from kinema.schema import KinemaError, Result

try:
    import fcntl
except ImportError:  # not on Windows: there nothing keeps two runs apart
    fcntl = None  # type: ignore[assignment]


class Entry(Protocol):
    """One finished episode, whatever kind of play it was."""

    @property
    def task(self) -> str: ...

    @property
    def index(self) -> int: ...

    @property
    def result(self) -> str: ...

    def as_dict(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=Entry)


class Journal(Generic[R]):
    """`episodes.jsonl`, only ever appended: the run's settings, then a line per sitting and per episode.

    A sitting is one start of the run and holds its provenance; a run that was killed has several. A journal
    whose settings differ from this run's is refused: two runs never mix, nor two sets of weights. So is one
    that another process writes. A last line torn by a kill is dropped and its episode is played again. Of
    two lines for one episode the later counts: the first was an error that was asked to be tried again.

    read: makes a record of a line's fields
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], read: Callable[..., R]) -> None:
        self._made = [file for file in (path, *path.parents) if not file.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.records: dict[tuple[str, int], R] = {}
        self.sittings: list[dict[str, Any]] = []
        self.retried = 0  # errors that were played again
        self._make = read
        plain = _plain(settings)
        self._file = path.open("a+b")
        try:
            _lock(self._file, path)
            whole = self._read(plain)
            self._file.truncate(whole)
        except BaseException:
            self._file.close()
            raise
        if whole == 0:
            self._write({"settings": plain})

    def _read(self, settings: dict[str, Any]) -> int:
        """Fill `records`; returns how many bytes of the file are whole lines."""
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                entry = json.loads(line)
                if number > 1:
                    self._take(entry)
            except (ValueError, TypeError, AttributeError) as error:
                raise KinemaError(
                    f"{self.path}, line {number} is not of a run ({error}); choose another --out"
                ) from error
            if number == 1:
                self._compare(entry.get("settings") if isinstance(entry, dict) else None, settings)
        return whole

    def _take(self, entry: dict[str, Any]) -> None:
        if "sitting" in entry:
            self.sittings.append(entry["sitting"])
        else:
            self._keep(self._make(**entry))

    def _keep(self, record: R) -> None:
        before = self.records.get((record.task, record.index))
        self.retried += before is not None and before.result == Result.ERROR
        self.records[record.task, record.index] = record

    def _compare(self, found: Any, wanted: dict[str, Any]) -> None:
        if found == wanted:
            return
        found = found if isinstance(found, dict) else {}
        if found.get("made_by") != wanted.get("made_by"):
            differs = "; ".join(changed(found.get("made_by"), wanted["made_by"]))
            raise KinemaError(
                f"{self.path} was begun with something else: {differs}. "
                "A result is of one set of weights: choose another --out"
            )
        keys = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
        shown = "; ".join(f"{k}: there {found.get(k)!r}, now {wanted.get(k)!r}" for k in keys)
        raise KinemaError(f"{self.path} belongs to another run ({shown}); choose another --out or remove it")

    def begin(self, sitting: Mapping[str, Any]) -> None:
        """Note that the run was started (again), and under what circumstances."""
        plain = _plain(sitting)
        self.sittings.append(plain)
        self._write({"sitting": plain})

    def append(self, record: R) -> None:
        """Add a finished episode; it survives a kill once this returns."""
        self._keep(record)
        self._write(record.as_dict())

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise KinemaError(
                f"{self.path} cannot be written ({error.strerror}); finished episodes are kept, "
                "the same command goes on from there"
            ) from error

    def close(self) -> None:
        """A run in which nothing was played, because it was refused, leaves nothing behind."""
        if self._made and not self.sittings and not self.records:
            for made in self._made:
                with suppress(OSError):  # somebody else has put something into the folder
                    made.unlink() if made == self.path else made.rmdir()
        self._file.close()


def read_records(out: Path) -> list[EpisodeRecord]:
    """The finished episodes of the run in `out`, from its journal, each once."""
    entries = [json.loads(line) for line in (out / "episodes.jsonl").read_text().splitlines()]
    records = [EpisodeRecord(**entry) for entry in entries if "task" in entry]
    return list({(record.task, record.index): record for record in records}.values())


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As it will be read again."""
    read: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return read


def _lock(file: IO[bytes], path: Path) -> None:
    """Nobody else may write this file until it is closed. Raises KinemaError when somebody already does."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise KinemaError(
            f"another run is writing into {path.parent}; wait for it or choose another --out"
        ) from None
    except OSError:
        return  # a file system without locks, as some network drives are
