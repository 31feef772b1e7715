"""Mending a v3.0 data set: finish interrupted changes, renumber, recount, and set aside what is lost.

Videos are never re-encoded: an episode without all of its pictures, or with non-finite numbers, cannot be
mended and is left out; its index does not stay as a gap that would shift every later video. The new state
is written aside and verified before it replaces the old one, which is kept (as hard links) in a backup
folder below `.kinema`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kinema.data import checksums
from kinema.data.fault import Fault, Kind
from kinema.data.info import read_info, read_json
from kinema.data.journal import (
    HIDDEN,
    Transaction,
    WriterLock,
    discard_staging,
    disk_errors,
    has_leftovers,
    is_being_written,
    is_pending,
    recover,
)
from kinema.data.lerobot import Dataset
from kinema.data.measure import write_statistics
from kinema.data.metadata import INFO, Clip, EpisodeRecord
from kinema.data.repaired import Kept, NewState
from kinema.data.scan import Scan, scan
from kinema.data.verify import faults_of
from kinema.data.verify_clips import OFF_GRID, READ_WITHIN, in_order, laid_end_to_end, pictures_of, placed
from kinema.data.verify_rows import mended_rows
from kinema.schema import KinemaError


@dataclass(frozen=True, kw_only=True)
class Action:
    """What `repair` did, would do (dry run) or could not do (`mended` False)."""

    where: str
    detail: str
    mended: bool

    def __str__(self) -> str:
        return f"{'mended' if self.mended else 'cannot be mended'}: {self.where}: {self.detail}"


def repair(root: Path, *, dry_run: bool = False) -> list[Action]:
    """Mend the data set at `root`. Returns what was done and what cannot be mended; empty when it is sound.

    A dry run writes nothing. Raises KinemaError when there is no v3.0 data set at `root` or another process
    is writing it.
    """
    root = Path(root)
    if not root.is_dir():
        raise KinemaError(f"{root} is not a folder; expected a LeRobot data set")
    if dry_run:
        if is_being_written(root):
            raise KinemaError(f"{root} is being written by another process")
        return _repair(root, dry_run=True)
    if not ((root / "meta").is_dir() or is_pending(root) or has_leftovers(root)):
        read_info(root)  # says that this is no data set, before a lock is made in it
    lock = WriterLock(root)
    try:
        return _repair(root, dry_run=False, lock=lock)
    finally:
        lock.release()


def _repair(root: Path, *, dry_run: bool, lock: WriterLock | None = None) -> list[Action]:
    actions = _finish_changes(root, dry_run)
    if dry_run and is_pending(root):
        return actions
    _check_version(root)
    found = scan(root, read_info(root))
    faults = [f for f in faults_of(found, decode=True) if f.kind != Kind.REMARK]
    actions += [_explained(f) for f in checksums.faults(root) if f.kind == Kind.CHANGED]
    if not faults:
        return actions
    kept = _kept_episodes(found, faults)
    if not kept:
        lost = [replace(_explained(fault), mended=False) for fault in faults]
        detail = "no whole episode is left; nothing was changed"
        return [
            *actions,
            *lost,
            *_set_aside(found, kept),
            Action(where=str(root), detail=detail, mended=False),
        ]
    explained = [_explained(fault) for fault in faults]
    if dry_run:
        return [*actions, *explained, *_set_aside(found, kept)]
    with disk_errors(f"{root} could not be repaired"):
        if all(fault.kind == Kind.STATISTICS for fault in faults) and lock is not None:
            lock.release()
            write_statistics(root)
        else:
            kept = _rewrite(found, kept, faults)
    return [*actions, *explained, *_set_aside(found, kept)]


def _check_version(root: Path) -> None:
    if (root / INFO).is_file():
        version = str(read_json(root / INFO).get("codebase_version"))
        if not version.startswith("v3."):
            raise KinemaError(f"{root} is {version}; only v3.0 data sets can be repaired")


def _explained(fault: Fault) -> Action:
    return Action(where=fault.where, detail=f"{fault.kind}: {fault.detail}", mended=fault.repairable)


def _finish_changes(root: Path, dry_run: bool) -> list[Action]:
    actions = []
    if is_pending(root):
        detail = "finished an interrupted change"
        actions.append(Action(where=f"{HIDDEN}/journal", detail=detail, mended=True))
    if has_leftovers(root):
        detail = "removed the unfinished episode of a killed recording"
        actions.append(Action(where=f"{HIDDEN}/staging", detail=detail, mended=True))
    if not dry_run:
        recover(root)
        discard_staging(root)
    return actions


def _kept_episodes(found: Scan, faults: list[Fault]) -> list[Kept]:
    """Whole episodes in the order of their numbers; those that meta/episodes lost are found in the data."""
    lost = [fault for fault in faults if not fault.repairable]
    lost_episodes = {fault.episode for fault in lost}
    lost_files = {fault.where for fault in lost if fault.episode is None}
    clips = _mended_clips(found)
    cursor: dict[str, Clip] = {}
    kept = []
    for path in sorted(found.files):
        for number in found.files[path].rows:
            record = found.by_number.get(number)
            if record is None or record.data_path != path:
                record = _record_from_data(found, number, path, cursor)
            if record is None:
                continue
            record = replace(
                record, clips={key: clips.get((key, number), c) for key, c in record.clips.items()}
            )
            cursor.update(record.clips)
            files = {record.data_path, *(clip.path for clip in record.clips.values())}
            rows = mended_rows(found, record)
            tasks_known = found.tasks is not None or (record.tasks is not None and len(record.tasks) == 1)
            if rows is not None and tasks_known and number not in lost_episodes and not files & lost_files:
                kept.append(Kept(record=replace(record, length=len(rows)), rows=rows))
    return kept


def _mended_clips(found: Scan) -> dict[tuple[str, int], Clip]:
    """Where the clips really begin, by camera and episode: end to end where that fits, else at a picture."""
    mended = {}
    for path, clips in placed(found).items():
        stream = found.videos.get(path)
        if stream is None or path in found.errors:
            continue
        laid = laid_end_to_end(found, path, clips)
        for number, p in enumerate(in_order(clips)):
            key = found.camera_of[path]
            start_s = p.clip.start_s
            nearest, off_s = pictures_of(stream, p.clip, min(p.length, len(stream.times_s)), found.fps)
            if laid is not None:
                start_s = laid[number].start_s
            elif len(nearest) and OFF_GRID / found.fps < off_s.max() < READ_WITHIN / found.fps:
                start_s = float(stream.times_s[nearest[0]])
            mended[key, p.record.index] = replace(
                p.clip, start_s=start_s, end_s=start_s + p.length / found.fps
            )
    return mended


def _record_from_data(found: Scan, number: int, path: str, cursor: dict[str, Clip]) -> EpisodeRecord | None:
    """An episode that only the data file knows: its pictures follow those of the episode before."""
    file = found.files[path]
    rows = file.rows[number]
    clips = {}
    for key in found.video_keys:
        clip = _next_clip(found, key, cursor.get(key), len(rows))
        if clip is None:
            return None
        clips[key] = clip
    if found.tasks is None:
        return None
    numbers = np.unique(file.columns["task_index"][rows, 0])
    if numbers.min() < 0 or numbers.max() >= len(found.tasks):
        return None
    return EpisodeRecord(
        index=number,
        length=len(rows),
        tasks=tuple(found.tasks[i] for i in numbers),
        data_path=path,
        first_row=int(file.columns["index"][rows[0], 0]),
        clips=clips,
    )


def _next_clip(found: Scan, key: str, before: Clip | None, length: int) -> Clip | None:
    """Where `length` frames fit behind `before`: in the same file, or exactly from the start of the next."""
    paths = [path for path in found.videos if found.camera_at(path) == key and path not in found.errors]
    if before is not None and before.path in paths:
        here = Clip(path=before.path, start_s=before.end_s, end_s=before.end_s + length / found.fps)
        if _has_pictures(found, here, length):
            return here
        last_s = found.videos[before.path].times_s[-1]
        if last_s > before.end_s - 0.5 / found.fps:
            return None  # pictures of something else are left in that file: no safe assignment
        paths = paths[paths.index(before.path) + 1 :]
    for path in paths[:1]:
        clip = Clip(path=path, start_s=0.0, end_s=length / found.fps)
        if _has_pictures(found, clip, length):
            return clip
    return None


def _has_pictures(found: Scan, clip: Clip, length: int) -> bool:
    nearest, off_s = pictures_of(found.videos[clip.path], clip, length, found.fps)
    return len(nearest) == length and bool((off_s < OFF_GRID / found.fps).all())


def _set_aside(found: Scan, kept: list[Kept]) -> list[Action]:
    numbers = {k.record.index for k in kept}
    detail = "set aside: its rows or pictures are lost"
    return [
        Action(where=f"episode {record.index}", detail=detail, mended=False)
        for record in found.records
        if record.index not in numbers
    ]


def _rewrite(found: Scan, kept: list[Kept], faults: list[Fault]) -> list[Kept]:
    """Replace the data set by one of the kept episodes, as one change; returns those that were kept.

    The new state is verified before it is committed: an episode with a fault in it is left out as well.
    """
    root = found.root
    for _ in range(len(kept)):
        change = Transaction(root)
        try:
            state = NewState(found, kept, faults, change)
            state.stage()
            with state.looked_at() as view:
                left = [f for f in faults_of(scan(view), decode=False) if f.forbids_reading]
                faulty = state.episodes_of(left)
                if left and not faulty:
                    raise KinemaError(f"{root} cannot be repaired: {left[0]}; nothing was changed")
                if not left:
                    state.stage_statistics(Dataset.open(view))
            if not left:
                _back_up(root, [*state.old, INFO])
                change.commit(remove=tuple(state.old))
                return kept
        except BaseException:
            change.abandon()
            raise
        change.abandon()
        kept = [k for k in kept if k.record.index not in faulty]
    raise KinemaError(f"{root} cannot be repaired: no whole episode is left; nothing was changed")


def _back_up(root: Path, paths: list[str]) -> None:
    """Hard links to the files as they are; replacing a file later leaves its link untouched."""
    number = 1 + len(list((root / HIDDEN).glob("backup-*")))
    for relative in dict.fromkeys(paths):
        if (root / relative).is_file():
            target = root / HIDDEN / f"backup-{number}" / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(root / relative, target)
