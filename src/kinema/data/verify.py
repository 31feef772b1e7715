"""Naming every fault of a data set, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pyarrow as pa

from kinema.data import schema_v30 as v30
from kinema.data.journal import HIDDEN, has_leftovers, is_pending
from kinema.data.lerobot import Dataset
from kinema.data.metadata import INFO, STATS, EpisodeRecord, read_info, read_json, vector_keys
from kinema.data.scan import Scan, scan
from kinema.schema import KinemaError


class Kind(StrEnum):
    FOREIGN = "foreign version"
    INTERRUPTED = "interrupted change"
    MISSING = "missing file"
    UNREADABLE = "unreadable file"
    COUNTS = "counts disagree"
    INDEX_GAP = "index gap"
    TIMESTAMPS = "timestamps off the grid"
    NON_FINITE = "non-finite values"
    SHAPE = "wrong shape"
    TASK = "unknown task"
    SHORT_VIDEO = "short video"
    FPS = "wrong fps"
    STATISTICS = "statistics"
    ORPHAN = "file without episode"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault. `repairable` False: `repair` cannot mend it and sets the episode aside (or stops)."""

    kind: Kind
    where: str
    detail: str
    repairable: bool
    episode: int | None = None

    def __str__(self) -> str:
        hint = "" if self.repairable else " [cannot be mended]"
        return f"{self.kind}: {self.where}: {self.detail}{hint}"


def verify(root: Path, *, decode: bool = True) -> list[Fault]:
    """All faults of the data set at `root`; an empty list means it is sound.

    decode: decode every picture as well (finds damage inside a video, takes longer).
    v2.x data sets are checked by reading them, v3.0 ones file by file.
    """
    root = Path(root)
    if is_pending(root):
        detail = "a committed change was not moved to its place; nothing is lost"
        return [Fault(kind=Kind.INTERRUPTED, where=f"{HIDDEN}/journal", detail=detail, repairable=True)]
    try:
        info = read_info(root)
    except KinemaError as error:
        kind = Kind.UNREADABLE if (root / INFO).is_file() else Kind.MISSING
        return [Fault(kind=kind, where=INFO, detail=str(error), repairable=False)]
    version = str(info["codebase_version"])
    if version in ("v2.0", "v2.1"):
        return _verify_by_reading(root, decode)
    if not version.startswith("v3."):
        detail = f"{version!r}; readable: v3.0, v2.1, v2.0"
        return [Fault(kind=Kind.FOREIGN, where=INFO, detail=detail, repairable=False)]
    faults = []
    if has_leftovers(root):
        detail = "the episode that was running when a recording was killed"
        where = f"{HIDDEN}/staging"
        faults.append(Fault(kind=Kind.INTERRUPTED, where=where, detail=detail, repairable=True))
    return faults + list(faults_of(scan(root, info, decode=decode)))


def faults_of(found: Scan) -> Iterator[Fault]:
    """The faults of a v3.0 data set that was scanned."""
    yield from _file_faults(found)
    yield from _table_faults(found)
    for record in found.records:
        yield from episode_faults(found, record)
    yield from _orphans(found)
    yield from _statistics_faults(found)


def episode_faults(found: Scan, record: EpisodeRecord) -> Iterator[Fault]:
    """What is wrong with one episode's rows and pictures (files that cannot be read are named elsewhere)."""

    def fault(kind: Kind, where: str, detail: str, repairable: bool) -> Fault:
        place = f"{where}, episode {record.index}"
        return Fault(kind=kind, where=place, detail=detail, repairable=repairable, episode=record.index)

    rows = found.rows_of(record)
    if rows is not None:
        shown = [found.frames_in(record.clips[key], len(rows)) for key in found.video_keys]
        whole = len(rows) > 0 and all(frames == len(rows) for frames in shown) and in_step(rows, record)
        if len(rows) != record.length:
            detail = f"{len(rows)} rows, meta/episodes says {record.length}"
            yield fault(Kind.COUNTS, record.data_path, detail, whole)
        for kind, detail, repairable in _row_faults(found, rows, record):
            yield fault(kind, record.data_path, detail, repairable and whole)
    for key in found.video_keys:
        clip = record.clips[key]
        if clip.path in found.errors:
            continue
        shown_frames = found.frames_in(clip, record.length)
        if shown_frames < record.length:
            detail = f"{shown_frames} of {record.length} frames from {clip.start_s:g} s on"
            yield fault(Kind.SHORT_VIDEO, clip.path, detail, False)


def in_step(rows: pa.Table, record: EpisodeRecord) -> bool:
    """Whether row k still belongs to picture k: no row is lost, or only rows at the end."""
    frame = v30.column_values(rows, "frame_index")[:, 0]
    return len(rows) == record.length or np.array_equal(frame, np.arange(len(rows)))


def _row_faults(found: Scan, rows: pa.Table, record: EpisodeRecord) -> Iterator[tuple[Kind, str, bool]]:
    if not len(rows):
        return
    frame = v30.column_values(rows, "frame_index")[:, 0]
    if not np.array_equal(frame, np.arange(len(rows))):
        at = int(np.flatnonzero(frame != np.arange(len(rows)))[0])
        yield Kind.INDEX_GAP, f"frame_index {frame[at]} at row {at}", True
    index = v30.column_values(rows, "index")[:, 0]
    if not np.array_equal(index, record.first_row + np.arange(len(rows))):
        yield (
            Kind.INDEX_GAP,
            f"index runs {index[0]} … {index[-1]}, expected to begin at {record.first_row}",
            True,
        )
    yield from _time_faults(found, v30.column_values(rows, "timestamp")[:, 0])
    tasks = v30.column_values(rows, "task_index")[:, 0]
    known = len(found.tasks) if found.tasks is not None else int(tasks.max()) + 1
    if tasks.min() < 0 or tasks.max() >= known:
        yield Kind.TASK, f"task_index up to {tasks.max()}, meta/tasks.parquet has {known}", False
    for name in vector_keys(found.info["features"]):
        try:
            values = v30.column_values(rows, name)
        except KinemaError as error:
            yield Kind.SHAPE, str(error), False
            continue
        width = int(np.prod(found.info["features"][name]["shape"], dtype=int))
        if values.shape[1] != width:
            yield Kind.SHAPE, f"{name} has {values.shape[1]} channels, info.json says {width}", False
        elif values.dtype.kind == "f" and not np.isfinite(values).all() and name != "timestamp":
            bad = np.flatnonzero(~np.isfinite(values).all(1))
            yield Kind.NON_FINITE, f"{name}, {len(bad)} frames, first {bad[0]}", False


def _time_faults(found: Scan, time_s: np.ndarray) -> Iterator[tuple[Kind, str, bool]]:
    error_s = np.abs(time_s - np.arange(len(time_s)) / found.fps)
    if np.isfinite(time_s).all() and error_s.max() < 0.01 / found.fps:
        return
    step_s = np.diff(time_s)
    if len(step_s) and np.ptp(step_s) < 0.05 / found.fps and abs(step_s.mean() * found.fps - 1) > 0.05:
        detail = f"timestamps run at {1 / step_s.mean():.3g} frames/s, info.json says {found.fps:g}"
        yield Kind.FPS, detail, bool(found.video_keys)
    else:
        at = int(np.argmax(np.where(np.isfinite(error_s), error_s, np.inf)))
        yield Kind.TIMESTAMPS, f"frame {at} at {time_s[at]:g} s, expected {at / found.fps:g} s", True


def _file_faults(found: Scan) -> Iterator[Fault]:
    for path, detail in found.errors.items():
        kind = Kind.UNREADABLE if (found.root / path).is_file() else Kind.MISSING
        if path == v30.TASKS:
            named = all(record.tasks for record in found.records)
            yield Fault(kind=kind, where=path, detail=detail, repairable=named and bool(found.records))
        else:  # metadata can be found again from the data; data and pictures cannot
            yield Fault(kind=kind, where=path, detail=detail, repairable=path.startswith("meta/"))
    for path in found.videos:
        yield from video_faults(found, path)


def video_faults(found: Scan, path: str) -> Iterator[Fault]:
    """What makes a readable video useless for every episode in it."""
    stream = found.videos[path]
    if abs(stream.fps - found.fps) > 0.01 * found.fps:
        detail = f"{stream.fps:g} frames/s, info.json says {found.fps:g}"
        yield Fault(kind=Kind.FPS, where=path, detail=detail, repairable=False)
    feature = found.info["features"].get(path.split("/")[1], {"shape": ()})
    if list(feature["shape"][:2]) not in ([], [stream.height, stream.width]):
        detail = f"{stream.height} × {stream.width}, info.json says {feature['shape'][:2]}"
        yield Fault(kind=Kind.SHAPE, where=path, detail=detail, repairable=False)


def _table_faults(found: Scan) -> Iterator[Fault]:
    numbers = [record.index for record in found.records]
    if numbers != list(range(len(numbers))):
        gap = next((i for i, number in enumerate(numbers) if i != number), len(numbers))
        detail = f"row {gap} is episode {numbers[gap]}"
        yield Fault(kind=Kind.INDEX_GAP, where="meta/episodes", detail=detail, repairable=True)
    expected = 0
    for record in found.records:
        if record.first_row != expected:
            detail = f"episode {record.index} begins at {record.first_row}, expected {expected}"
            yield Fault(kind=Kind.INDEX_GAP, where="meta/episodes", detail=detail, repairable=True)
            break
        expected += record.length
    counts = {
        "total_episodes": len(found.records),
        "total_frames": sum(record.length for record in found.records),
        "total_tasks": len(found.tasks) if found.tasks is not None else found.info.get("total_tasks"),
    }
    for key, there in counts.items():
        if found.info.get(key) != there:
            detail = f"{key} is {found.info.get(key)}, the files hold {there}"
            yield Fault(kind=Kind.COUNTS, where=INFO, detail=detail, repairable=True)


def _orphans(found: Scan) -> Iterator[Fault]:
    used = {record.data_path for record in found.records}
    used |= {clip.path for record in found.records for clip in record.clips.values()}
    for path in [*found.tables, *found.videos]:
        if path not in used:
            detail = "no episode of meta/episodes lies in it"
            yield Fault(kind=Kind.ORPHAN, where=path, detail=detail, repairable=True)
    named: dict[str, set[int]] = {}
    for record in found.records:
        named.setdefault(record.data_path, set()).add(record.index)
    for path, rows in found.rows.items():
        extra = sorted(set(rows) - named.get(path, set()))
        if extra and path in used:
            detail = f"holds rows of episodes {extra[:5]}, which meta/episodes does not name"
            yield Fault(kind=Kind.COUNTS, where=path, detail=detail, repairable=True)


def _statistics_faults(found: Scan) -> Iterator[Fault]:
    path = found.root / STATS
    if not path.is_file():
        yield Fault(kind=Kind.STATISTICS, where=STATS, detail="missing", repairable=True)
        return
    try:
        stats = read_json(path)
    except KinemaError as error:
        yield Fault(kind=Kind.STATISTICS, where=STATS, detail=str(error), repairable=True)
        return
    for name in vector_keys(found.info["features"]):
        if name not in stats:
            yield Fault(kind=Kind.STATISTICS, where=STATS, detail=f"{name} is missing", repairable=True)
            continue
        parts = [v30.column_values(t, name) for t in found.tables.values()]
        parts = [p for p in parts if p.size and p.shape[1] == parts[0].shape[1] and np.isfinite(p).all()]
        if not parts:
            continue
        low, high = (np.min([p.min(0) for p in parts], 0), np.max([p.max(0) for p in parts], 0))
        stated = np.ravel(stats[name].get("min", [])), np.ravel(stats[name].get("max", []))
        same = all(
            s.shape == v.shape and np.allclose(s, v, rtol=1e-4, atol=1e-6)
            for s, v in zip(stated, (low, high))
        )
        if not same:
            detail = f"{name}: min or max disagree with the data"
            yield Fault(kind=Kind.STATISTICS, where=STATS, detail=detail, repairable=True)


def _verify_by_reading(root: Path, decode: bool) -> list[Fault]:
    """v2.x: faults met on the way of reading it; it is not written here, so nothing is repairable."""
    try:
        dataset = Dataset.open(root)
    except KinemaError as error:
        return [Fault(kind=Kind.UNREADABLE, where=str(root), detail=str(error), repairable=False)]
    faults = []
    for name in vector_keys(dataset.metadata.features):
        bad = np.flatnonzero(~np.isfinite(dataset.column(name)).all(1))
        if len(bad):
            detail = f"{name}, {len(bad)} frames, first {bad[0]}"
            faults.append(Fault(kind=Kind.NON_FINITE, where="data", detail=detail, repairable=False))
    for episode, (first, end) in enumerate(dataset.episode_bounds):
        chosen = np.arange(first, end) if decode else np.array([first, end - 1])
        for camera in dataset.camera_names:
            try:
                dataset.frames(camera, chosen)
            except KinemaError as error:
                detail, where = str(error), f"camera {camera}, episode {episode}"
                faults.append(Fault(kind=Kind.SHORT_VIDEO, where=where, detail=detail, repairable=False))
    return faults
