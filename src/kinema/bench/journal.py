"""The run's journal: one JSON line per finished episode, on disk before its worker gets the next one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinema.bench.episode import EpisodeRecord
from kinema.schema import KinemaError


class Journal:
    """`episodes.jsonl`, only ever appended: the run's settings, then a line per sitting and per episode.

    A sitting is one start of the run and holds its provenance; a run that was killed has several. A journal
    whose settings differ from this run's is refused: two runs never mix. A last line torn by a kill is
    dropped and its episode is played again.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.records: dict[tuple[str, int], EpisodeRecord] = {}
        self.sittings: list[dict[str, Any]] = []
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        whole = self._read(plain)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(whole)
        self._file.seek(whole)
        if whole == 0:
            self._write({"settings": plain})

    def _read(self, settings: dict[str, Any]) -> int:
        """Fill `records`; returns how many bytes of the file are whole lines."""
        if not self.path.exists():
            return 0
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                entry = json.loads(line)
            except json.JSONDecodeError as error:
                raise KinemaError(
                    f"{self.path}, line {number} is not JSON ({error}); choose another --out"
                ) from error
            if number == 1:
                self._compare(entry.get("settings"), settings)
            elif "sitting" in entry:
                self.sittings.append(entry["sitting"])
            else:
                record = EpisodeRecord(**entry)
                self.records[record.task, record.index] = record
        return whole

    def _compare(self, found: Any, wanted: dict[str, Any]) -> None:
        if found == wanted:
            return
        found = found if isinstance(found, dict) else {}
        changed = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
        shown = "; ".join(f"{k}: there {found.get(k)!r}, now {wanted.get(k)!r}" for k in changed)
        raise KinemaError(f"{self.path} belongs to another run ({shown}); choose another --out or remove it")

    def begin(self, sitting: Mapping[str, Any]) -> None:
        """Note that the run was started (again), and under what circumstances."""
        self.sittings.append(dict(sitting))
        self._write({"sitting": dict(sitting)})

    def append(self, record: EpisodeRecord) -> None:
        """Add a finished episode; it survives a kill once this returns."""
        self.records[record.task, record.index] = record
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
        self._file.close()
