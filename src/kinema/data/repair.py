"""Mending a v3.0 data set: finish interrupted changes, renumber, recount, and set aside what is lost.

Videos are never re-encoded: an episode without all of its pictures, or with non-finite numbers, cannot be
mended and is left out; its index does not stay as a gap that would shift every later video. The state
before the repair is kept (as hard links) in a backup folder below `.kinema`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kinema.data import captions
from kinema.data import schema_v30 as v30
from kinema.data.journal import (
    HIDDEN,
    Transaction,
    WriterLock,
    discard_staging,
    disk_errors,
    has_leftovers,
    is_pending,
    recover,
)
from kinema.data.measure import write_statistics
from kinema.data.metadata import INFO, Clip, EpisodeRecord, read_info, vector_keys
from kinema.data.scan import Scan, scan
from kinema.data.verify import Fault, Kind, episode_faults, faults_of, in_step, video_faults
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

    Raises KinemaError when there is no v3.0 data set at `root` or another process is writing it.
    """
    root = Path(root)
    if not root.is_dir():
        raise KinemaError(f"{root} is not a folder; expected a LeRobot data set")
    lock = WriterLock(root)
    try:
        actions = _finish_changes(root, dry_run)
        if dry_run and is_pending(root):
            return actions
        info = read_info(root)
        if not str(info["codebase_version"]).startswith("v3."):
            raise KinemaError(f"{root} is {info['codebase_version']}; only v3.0 data sets can be repaired")
        held = [
            n
            for n, f in info["features"].items()
            if f["dtype"] != "video" and n not in vector_keys(info["features"])
        ]
        if held:
            raise KinemaError(
                f"{root} keeps {held} inside its parquet files; such data sets are not repaired here"
            )
        found = scan(root, info, decode=True)
        faults = list(faults_of(found))
        if not faults:
            return actions
        kept = list(_kept_episodes(found))
        if not kept:
            detail = "no whole episode is left; nothing was changed"
            lost = [replace(action, mended=False) for action in _explain(faults, found, kept)]
            return [*actions, *lost, Action(where=str(root), detail=detail, mended=False)]
        actions += _explain(faults, found, kept)
        if not dry_run:
            with disk_errors(f"{root} could not be repaired"):
                if any(fault.kind != Kind.STATISTICS for fault in faults):
                    _rewrite(found, kept)
                lock.release()
                write_statistics(root)
        return actions
    finally:
        lock.release()


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """An episode that stays: its record with mended places, and its rows."""

    record: EpisodeRecord
    rows: pa.Table


def _finish_changes(root: Path, dry_run: bool) -> list[Action]:
    actions = []
    if is_pending(root):
        actions.append(
            Action(where=f"{HIDDEN}/journal", detail="finished an interrupted change", mended=True)
        )
    if has_leftovers(root):
        detail = "removed the unfinished episode of a killed recording"
        actions.append(Action(where=f"{HIDDEN}/staging", detail=detail, mended=True))
    if not dry_run:
        recover(root)
        discard_staging(root)
    return actions


def _kept_episodes(found: Scan) -> Iterator[_Kept]:
    """Whole episodes in the order of their numbers; those that meta/episodes lost are found in the data."""
    known = {record.index: record for record in found.records}
    cursor: dict[str, Clip] = {}
    for path in sorted(found.rows):
        for number, rows in found.rows[path].items():
            record = known.get(number)
            if record is None or record.data_path != path:
                record = _record_from_data(found, number, path, rows, cursor)
            if record is None:
                continue
            cursor.update(record.clips)
            mended = replace(record, length=len(rows))
            if in_step(rows, record) and _is_whole(found, mended):
                yield _Kept(record=mended, rows=rows)


def _is_whole(found: Scan, record: EpisodeRecord) -> bool:
    """Whether all that is wrong with an episode can be mended."""
    for clip in record.clips.values():
        if clip.path in found.errors or any(video_faults(found, clip.path)):
            return False
    tasks_known = found.tasks is not None or len(record.tasks) == 1
    return tasks_known and all(fault.repairable for fault in episode_faults(found, record))


def _record_from_data(
    found: Scan, number: int, path: str, rows: pa.Table, cursor: dict[str, Clip]
) -> EpisodeRecord | None:
    """An episode that only the data file knows: its pictures follow those of the episode before."""
    clips = {}
    for key in found.video_keys:
        clip = _next_clip(found, key, cursor.get(key), len(rows))
        if clip is None:
            return None
        clips[key] = clip
    if found.tasks is None:
        return None
    numbers = np.unique(v30.column_values(rows, "task_index"))
    if numbers.min() < 0 or numbers.max() >= len(found.tasks):
        return None
    tasks = tuple(found.tasks[i] for i in numbers)
    first = int(v30.column_values(rows, "index")[0, 0])
    return EpisodeRecord(
        index=number, length=len(rows), tasks=tasks, data_path=path, first_row=first, clips=clips
    )


def _next_clip(found: Scan, key: str, before: Clip | None, length: int) -> Clip | None:
    """Where `length` frames fit behind `before`: in the same file, or exactly from the start of the next."""
    paths = sorted(path for path in found.videos if path.split("/")[1] == key)
    if before is not None and before.path in paths:
        here = Clip(path=before.path, start_s=before.end_s, end_s=before.end_s + length / found.fps)
        if found.frames_in(here, length) == length:
            return here
        last_s = found.videos[before.path].times_s[-1]
        if last_s > before.end_s - 0.5 / found.fps:
            return None  # pictures of something else are left in that file: no safe assignment
        paths = paths[paths.index(before.path) + 1 :]
    for path in paths[:1]:
        clip = Clip(path=path, start_s=0.0, end_s=length / found.fps)
        if found.frames_in(clip, length) == length:
            return clip
    return None


def _explain(faults: list[Fault], found: Scan, kept: list[_Kept]) -> list[Action]:
    actions = [Action(where=f.where, detail=f"{f.kind}: {f.detail}", mended=f.repairable) for f in faults]
    numbers = {k.record.index for k in kept}
    for record in found.records:
        if record.index not in numbers:
            detail = "set aside: its rows or pictures are lost"
            actions.append(Action(where=f"episode {record.index}", detail=detail, mended=False))
    return actions


def _rewrite(found: Scan, kept: list[_Kept]) -> None:
    """New data files, episode table, tasks, captions and info for the kept episodes, as one change."""
    root = found.root
    told = captions.read_captions(root)
    old = [*found.tables, *(p for p in found.errors if p.startswith("data/"))]
    used = {clip.path for k in kept for clip in k.record.clips.values()}
    old += [p for p in [*found.videos, *found.errors] if p.startswith("videos/") and p not in used]
    old += [str(p.relative_to(root)) for p in (root / "meta/episodes").glob("*/*.parquet")]
    old = [path for path in old if (root / path).is_file()]
    _back_up(root, [*old, INFO, v30.TASKS, captions.FILE])
    tasks = list(found.tasks) if found.tasks is not None else _tasks_from_records(kept)
    change = Transaction(root)
    try:
        rows = _stage_data(found, kept, change)
        pq.write_table(
            v30.episode_table(rows), change.path(v30.EPISODES_PATH.format(**v30.chunk_and_file(0)))
        )
        v30.write_tasks(change.path(v30.TASKS), tasks)
        if told:
            moved = {n: told[k.record.index] for n, k in enumerate(kept) if k.record.index in told}
            change.path(captions.FILE).write_text(captions.as_lines(moved))
        info = dict(found.info) | {
            "total_episodes": len(kept),
            "total_frames": sum(k.record.length for k in kept),
            "total_tasks": len(tasks),
            "splits": {"train": f"0:{len(kept)}"},
        }
        change.path(INFO).write_text(json.dumps(info, indent=4))
        change.commit(remove=tuple(old))
    except BaseException:
        change.abandon()
        raise


def _stage_data(found: Scan, kept: list[_Kept], change: Transaction) -> list[dict[str, Any]]:
    """Write the mended rows, one row group per episode; returns the rows of meta/episodes."""
    place, first_row, table_rows = v30.chunk_and_file(0), 0, []
    path = change.path(v30.DATA_PATH.format(**place))
    schema = kept[0].rows.schema
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for number, episode in enumerate(kept):
            length = len(episode.rows)
            frame = np.arange(length)
            mended = {
                "frame_index": frame,
                "episode_index": np.full(length, number),
                "index": first_row + frame,
                "timestamp": (frame / found.fps).astype(np.float32),
            }
            rows = episode.rows
            for name, values in mended.items():
                at = schema.get_field_index(name)
                rows = rows.set_column(at, schema.field(at), pa.array(values, schema.field(at).type))
            writer.write_table(rows.combine_chunks(), row_group_size=length)
            row: dict[str, Any] = {
                "episode_index": number,
                "tasks": list(episode.record.tasks),
                "length": length,
                "dataset_from_index": first_row,
                "dataset_to_index": first_row + length,
            } | {f"data/{key}": value for key, value in place.items()}
            for key, clip in episode.record.clips.items():
                row |= _clip_columns(key, clip, length / found.fps)
            row |= {f"meta/episodes/{key}": value for key, value in place.items()}
            table_rows.append(row)
            first_row += length
    return table_rows


def _clip_columns(key: str, clip: Clip, duration_s: float) -> dict[str, Any]:
    chunk, file = clip.path.removesuffix(".mp4").split("/")[-2:]
    values = {
        "chunk_index": int(chunk.removeprefix("chunk-")),
        "file_index": int(file.removeprefix("file-")),
        "from_timestamp": clip.start_s,
        "to_timestamp": clip.start_s + duration_s,
    }
    return {f"videos/{key}/{part}": value for part, value in values.items()}


def _tasks_from_records(kept: list[_Kept]) -> list[str]:
    """The task table, found again from episodes of one task each."""
    named = {}
    for episode in kept:
        number = int(v30.column_values(episode.rows, "task_index")[0, 0])
        named[number] = episode.record.tasks[0]
    return [named.get(i, f"(lost instruction {i})") for i in range(max(named) + 1)]


def _back_up(root: Path, paths: list[str]) -> None:
    """Hard links to the files as they are; replacing a file later leaves its link untouched."""
    number = 1 + len(list((root / HIDDEN).glob("backup-*")))
    for relative in paths:
        if (root / relative).is_file():
            target = root / HIDDEN / f"backup-{number}" / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(root / relative, target)
