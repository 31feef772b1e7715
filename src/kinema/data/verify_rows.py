"""What is wrong with the rows of a data set: their order, their times, their tasks, their numbers.

Axes: R rows of one data file that belong to named episodes, in the order of the episodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kinema.data.fault import Fault, Kind, remark
from kinema.data.metadata import EpisodeRecord
from kinema.data.scan import DataFile, Scan

_TRAINED_WITHOUT_S = 1e-4  # lerobot refuses timestamps that are further off


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The rows of a file's episodes on end."""

    records: list[EpisodeRecord]
    order: np.ndarray  # (R,) rows of the file
    ends: np.ndarray  # (episodes,) one past the last of each
    step: np.ndarray  # (R,) frame within the episode

    def per_episode(self, bad: np.ndarray) -> Iterator[tuple[EpisodeRecord, int, int]]:
        """For each episode with a bad row, from bool (R,): the record, its first bad row, how many."""
        at = np.flatnonzero(bad)
        whose = np.searchsorted(self.ends, at, side="right")
        for number in np.unique(whose):
            mine = at[whose == number]
            yield self.records[number], int(self.step[mine[0]]), len(mine)

    def slice_of(self, number: int) -> slice:
        return slice(int(self.ends[number - 1]) if number else 0, int(self.ends[number]))


def row_faults(found: Scan) -> Iterator[Fault]:
    """The faults of all rows that were read, file by file."""
    for path, file in found.files.items():
        if path in found.records.data_files:
            yield from file_faults(found, path, file)


def file_faults(found: Scan, path: str, file: DataFile) -> Iterator[Fault]:
    """The faults of the rows of one data file."""
    records = found.records.in_data_file(path)
    if file.lost:
        yield Fault(kind=Kind.UNREADABLE, where=path, detail=file.lost, repairable=True)
    for name, detail in file.wrong.items():
        yield Fault(kind=Kind.SHAPE, where=path, detail=f"{name} {detail}", repairable=False)
    yield from _length_faults(found, file, path, records)
    rows = _rows(file, records)
    yield from _order_faults(found, file, path, rows)
    yield from _time_faults(found, file, path, rows)
    yield from _task_faults(found, file, path, rows)
    yield from _value_faults(found, file, path, rows)


def _rows(file: DataFile, records: list[EpisodeRecord]) -> _Rows:
    there = [record for record in records if record.index in file.rows]
    parts = [file.rows[record.index] for record in there]
    lengths = np.array([len(part) for part in parts], np.int64)
    ends = lengths.cumsum()
    order = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    step = np.arange(len(order)) - np.repeat(ends - lengths, lengths)
    return _Rows(records=there, order=order, ends=ends, step=step)


def row_order(file: DataFile, rows: np.ndarray, fps: float) -> np.ndarray | None:
    """An episode's rows in the order in which they happened; None when its columns do not agree on one.

    frame_index, index and timestamp each tell an order; two of them outvote the third.
    """
    told: dict[bytes, int] = {}
    for name, scale in (("frame_index", 1.0), ("index", 1.0), ("timestamp", fps)):
        values = file.columns[name][rows, 0].astype(np.float64) * scale
        if not np.isfinite(values).all():
            continue
        order = np.argsort(values, kind="stable")
        if (np.abs(np.diff(values[order]) - 1) < 0.1).all():
            told[order.tobytes()] = told.get(order.tobytes(), 0) + 1
    frame = file.columns["frame_index"][rows, 0]
    if not told:
        return rows if (frame == frame[0]).all() else None
    ranked = sorted(told.values(), reverse=True)
    if len(ranked) > 1 and ranked[0] == ranked[1]:
        return None
    best = next(order for order, votes in told.items() if votes == ranked[0])
    return rows[np.frombuffer(best, np.int64)]


def mended_rows(found: Scan, record: EpisodeRecord) -> np.ndarray | None:
    """The rows of an episode in order, where row k still belongs to picture k; None when that is lost.

    Rows may be lacking at the end, but not in between.
    """
    rows = found.rows_of(record)
    if rows is None or not len(rows):
        return None
    file = found.files[record.data_path]
    ordered = row_order(file, rows, found.fps)
    if ordered is None or len(rows) == record.length:
        return ordered
    frame = file.columns["frame_index"][ordered, 0]
    return ordered if np.array_equal(frame, np.arange(len(rows))) else None


def _fault(kind: Kind, path: str, record: EpisodeRecord, detail: str, repairable: bool) -> Fault:
    where = f"{path}, episode {record.index}"
    return Fault(kind=kind, where=where, detail=detail, repairable=repairable, episode=record.index)


def _length_faults(found: Scan, file: DataFile, path: str, records: list[EpisodeRecord]) -> Iterator[Fault]:
    for record in records:
        rows = file.rows.get(record.index, ())
        if len(rows) != record.length:
            detail = f"{len(rows)} rows, {found.episodes_path} says {record.length}"
            yield _fault(Kind.COUNTS, path, record, detail, mended_rows(found, record) is not None)


def _order_faults(found: Scan, file: DataFile, path: str, rows: _Rows) -> Iterator[Fault]:
    frame = file.columns["frame_index"][rows.order, 0]
    for record, at, count in rows.per_episode(frame != rows.step):
        value = file.columns["frame_index"][file.rows[record.index][at], 0]
        detail = f"frame_index {value} at row {at} ({count} rows differ)"
        yield _fault(Kind.INDEX_GAP, path, record, detail, mended_rows(found, record) is not None)
    first = np.repeat([r.first_row for r in rows.records], np.diff(rows.ends, prepend=0))
    index = file.columns["index"][rows.order, 0]
    for record, _, _ in rows.per_episode(index != first + rows.step):
        mine = file.columns["index"][file.rows[record.index], 0]
        detail = f"index runs {mine[0]} … {mine[-1]}, expected to begin at {record.first_row}"
        yield _fault(Kind.INDEX_GAP, path, record, detail, mended_rows(found, record) is not None)
    broken = np.flatnonzero(np.diff(rows.order) != 1) + 1
    for number in np.setdiff1d(np.searchsorted(rows.ends, broken, side="right"), [-1]):
        part = rows.order[rows.slice_of(int(number))]
        if len(part) and (np.diff(part) != 1).any():
            detail = "its rows do not stand together"
            yield _fault(Kind.INDEX_GAP, path, rows.records[number], detail, True)


def _time_faults(found: Scan, file: DataFile, path: str, rows: _Rows) -> Iterator[Fault]:
    time_s = file.columns["timestamp"][rows.order, 0].astype(np.float64)
    error_s = np.abs(time_s - rows.step / found.fps)
    off = ~(error_s < 0.01 / found.fps)
    for record, _, _ in rows.per_episode(off):
        mine = file.columns["timestamp"][file.rows[record.index], 0].astype(np.float64)
        yield _time_fault(found, path, record, mine)
    rounding_s = 2 * np.finfo(np.float32).eps * np.abs(time_s)
    late = ~off & (error_s > _TRAINED_WITHOUT_S + rounding_s)
    for record, at, count in rows.per_episode(late):
        detail = f"{count} timestamps are more than 0.1 ms off (first: frame {at}); lerobot refuses them"
        yield remark(f"{path}, episode {record.index}", detail)


def _time_fault(found: Scan, path: str, record: EpisodeRecord, time_s: np.ndarray) -> Fault:
    step_s = np.diff(time_s)
    even = len(step_s) and np.isfinite(step_s).all() and np.ptp(step_s) < 0.05 / found.fps
    if even and step_s.mean() > 0 and abs(step_s.mean() * found.fps - 1) > 0.05:
        detail = f"timestamps run at {1 / step_s.mean():.3g} frames/s, info.json says {found.fps:g}"
        return _fault(Kind.FPS, path, record, detail, bool(found.video_keys))
    error_s = np.abs(time_s - np.arange(len(time_s)) / found.fps)
    at = int(np.argmax(np.where(np.isfinite(error_s), error_s, np.inf)))
    detail = f"frame {at} at {time_s[at]:g} s, expected {at / found.fps:g} s"
    return _fault(Kind.TIMESTAMPS, path, record, detail, True)


def _task_faults(found: Scan, file: DataFile, path: str, rows: _Rows) -> Iterator[Fault]:
    if found.tasks is None:
        return
    task = file.columns["task_index"][rows.order, 0]
    unknown = (task < 0) | (task >= len(found.tasks))
    for record, at, _ in rows.per_episode(unknown):
        value = file.columns["task_index"][file.rows[record.index][at], 0]
        detail = f"task_index {value} in row {at}, {found.tasks_path} has {len(found.tasks)} tasks"
        yield _fault(Kind.TASK, path, record, detail, False)
    for number, record in enumerate(rows.records):
        part = rows.slice_of(number)
        if record.tasks is None or unknown[part].any() or part.start == part.stop:
            continue
        told = {found.tasks[i] for i in np.unique(task[part])}
        if told != set(record.tasks):
            detail = f"its rows say {sorted(told)}, {found.episodes_path} says {sorted(record.tasks)}"
            yield _fault(Kind.TASK, path, record, detail[:300], False)


def _value_faults(found: Scan, file: DataFile, path: str, rows: _Rows) -> Iterator[Fault]:
    for name, values in file.columns.items():
        missing = np.zeros(len(values), bool)
        for row in file.bad.get(name, ()):
            missing[row] = True
        for record, at, count in rows.per_episode(missing[rows.order]):
            detail = file.bad[name][int(file.rows[record.index][at])]
            kind = Kind.MISSING_VALUES if "null" in detail else Kind.SHAPE
            also = f" ({count} frames)" if count > 1 else ""
            told = f"{name} {detail} in frame {at}{also}"
            yield _fault(kind, path, record, told, name == "timestamp")
        if values.dtype.kind == "f" and name != "timestamp":
            infinite = ~np.isfinite(values).all(1)
            for record, at, count in rows.per_episode(infinite[rows.order]):
                detail = f"{name}, {count} frames, first {at}"
                yield _fault(Kind.NON_FINITE, path, record, detail, False)
