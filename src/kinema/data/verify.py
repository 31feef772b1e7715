"""Naming every fault of a data set, whoever wrote it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema.data import checksums
from kinema.data.fault import Fault, Kind, remark
from kinema.data.info import is_known, read_info, read_json
from kinema.data.journal import HIDDEN, has_leftovers, is_being_written, is_pending, read_quietly
from kinema.data.metadata import INFO
from kinema.data.scan import Scan, scan
from kinema.data.verify_clips import clip_faults, picture_faults
from kinema.data.verify_pictures import seen
from kinema.data.verify_rows import row_faults
from kinema.data.verify_statistics import statistics_faults
from kinema.schema import KinemaError, check_instruction


def verify(root: Path, *, decode: bool = True) -> list[Fault]:
    """All faults of the data set at `root`; an empty list means it is sound.

    decode: look at every picture as well (finds damage inside a video, takes longer).
    """
    return [fault for fault in examine(root, decode=decode) if fault.kind != Kind.REMARK]


def examine(root: Path, *, decode: bool = True) -> list[Fault]:
    """All faults, and remarks on what is odd but harms nothing.

    Raises KinemaError when another process is changing the data set all the while.
    """
    root = Path(root)
    if is_pending(root) and not is_being_written(root):
        detail = "a committed change was not moved to its place; nothing is lost"
        return [Fault(kind=Kind.INTERRUPTED, where=f"{HIDDEN}/journal", detail=detail, repairable=True)]
    return read_quietly(root, lambda: _examine(root, decode))


def _examine(root: Path, decode: bool) -> list[Fault]:
    try:
        info = read_info(root)
    except KinemaError as error:
        return [Fault(kind=_why_not(root), where=INFO, detail=str(error), repairable=False)]
    faults = []
    if has_leftovers(root) and not is_being_written(root):
        detail = "the episode that was running when a recording was killed"
        where = f"{HIDDEN}/staging"
        faults.append(Fault(kind=Kind.INTERRUPTED, where=where, detail=detail, repairable=True))
    found = scan(root, info)
    return [*faults, *faults_of(found, decode=decode), *checksums.faults(root)]


def _why_not(root: Path) -> Kind:
    if not (root / INFO).is_file():
        return Kind.MISSING
    try:
        version = read_json(root / INFO).get("codebase_version")
    except KinemaError:
        return Kind.UNREADABLE
    return Kind.FOREIGN if isinstance(version, str) and not is_known(version) else Kind.METADATA


def faults_of(found: Scan, *, decode: bool) -> list[Fault]:
    """The faults of a scan: those of its numbers, then those of its pictures and statistics."""
    faults = list(faults_of_numbers(found))
    of_pictures = [*picture_faults(found), *seen(found, decode=decode)]
    faults = [*_file_faults(found), *faults, *of_pictures, *_orphans(found), *statistics_faults(found)]
    if not found.is_v30:  # such data sets are not written here
        faults = [replace(fault, repairable=False) for fault in faults]
    return faults


def faults_of_numbers(found: Scan) -> Iterator[Fault]:
    """What is wrong with the tables and rows. A set without any that forbids reading can be opened."""
    yield from found.faults
    yield from _table_faults(found)
    yield from row_faults(found)
    yield from clip_faults(found)


def first_fault(found: Scan, *, but: Collection[Kind] = ()) -> Fault | None:
    """Why a data set must not be read; None when all of its numbers are right. `but`: kinds to let pass."""
    for fault in _file_faults(found):
        if fault.where in found.records.data_files or fault.where == found.tasks_path:
            return fault
    faults = (f for f in faults_of_numbers(found) if f.forbids_reading and f.kind not in but)
    return next(faults, None)


def _file_faults(found: Scan) -> Iterator[Fault]:
    for path, detail in found.errors.items():
        kind = Kind.UNREADABLE if (found.root / path).is_file() else Kind.MISSING
        if path == found.tasks_path:
            named = bool(found.records) and found.records.tell_tasks
            yield Fault(kind=kind, where=path, detail=detail, repairable=named)
        else:
            yield Fault(kind=kind, where=path, detail=detail, repairable=False)


def _table_faults(found: Scan) -> Iterator[Fault]:
    where = found.episodes_path
    counts = {
        "total_episodes": len(found.records),
        "total_frames": int(found.records.length.sum()),
        "total_tasks": found.info.get("total_tasks", 0) if found.tasks is None else len(found.tasks),
    }
    for key, there in counts.items():
        if found.info.get(key) != there:
            detail = f"{key} is {found.info.get(key)}, {where} holds {there}"
            if key == "total_tasks":
                detail = f"{key} is {found.info.get(key)}, {found.tasks_path} holds {there}"
            yield Fault(
                kind=Kind.COUNTS, where=INFO, detail=detail, repairable=True, harmless=key == "total_tasks"
            )
    records = found.records
    gaps = np.flatnonzero(records.number != np.arange(len(records)))
    if len(gaps):
        detail = f"row {gaps[0]} is episode {records.number[gaps[0]]}"
        yield Fault(kind=Kind.INDEX_GAP, where=where, detail=detail, repairable=True)
    expected = records.length.cumsum() - records.length
    wrong = np.flatnonzero(records.first_row != expected)
    if len(wrong):
        at = wrong[0]
        detail = f"episode {records.number[at]} begins at {records.first_row[at]}, expected {expected[at]}"
        yield Fault(kind=Kind.INDEX_GAP, where=where, detail=detail, repairable=True)
    for number, task in enumerate(found.tasks or ()):
        try:
            check_instruction(task)
        except KinemaError as error:
            yield remark(found.tasks_path, f"task {number}: {error}; no policy can be told it")
    for path, file in found.files.items():
        if path not in records.data_files:
            continue
        named = set(records.number[records.data.episodes_in(records.data_files[path])].tolist())
        extra = sorted(set(file.rows) - named)
        if extra:
            detail = f"holds rows of episodes {extra[:5]}, which {where} does not name there"
            yield Fault(kind=Kind.COUNTS, where=path, detail=detail, repairable=True)


def _orphans(found: Scan) -> Iterator[Fault]:
    used = {*found.records.data_files, *found.camera_of}
    for path in sorted({*found.files, *found.videos, *found.errors} - used):
        if path.startswith(("data/", "videos/")):
            detail = f"no episode of {found.episodes_path} lies in it"
            yield Fault(kind=Kind.ORPHAN, where=path, detail=detail, repairable=True)


__all__ = ["Fault", "Kind", "examine", "faults_of", "faults_of_numbers", "first_fault", "verify"]
