"""Joining a recording's small files into files of the format's size limits, as one change to the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kinema.data import schema_v30 as v30
from kinema.data.journal import Transaction
from kinema.data.metadata import read_info
from kinema.data.video import join, probe

_EPISODES_PER_METADATA_FILE = 4000
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A file of the recording with the rows of the episodes it holds, in order."""

    path: str
    rows: list[Row]


def consolidate(root: Path) -> None:
    """Rewrite the v3.0 data set at `root` with as few files as its size limits allow."""
    info = read_info(root)
    meta_paths = sorted((root / "meta/episodes").glob("*/*.parquet"))
    rows: list[Row] = [row for path in meta_paths for row in v30.read_table(path).to_pylist()]
    rows = rows[: info["total_episodes"]]
    change = Transaction(root)
    try:
        old = {str(path.relative_to(root)) for path in meta_paths}
        kept: set[str] = set()
        old |= _join_data(root, change, rows, kept)
        for key, feature in info["features"].items():
            if feature["dtype"] == "video":
                old |= _join_videos(root, change, rows, key, info["fps"], kept)
        for number, start in enumerate(range(0, len(rows), _EPISODES_PER_METADATA_FILE)):
            part = rows[start : start + _EPISODES_PER_METADATA_FILE]
            place = v30.chunk_and_file(number)
            for row in part:
                row |= {f"meta/episodes/{key}": value for key, value in place.items()}
            pq.write_table(v30.episode_table(part), change.path(v30.EPISODES_PATH.format(**place)))
        change.commit(remove=tuple(old - kept))
    except BaseException:
        change.abandon()
        raise


def _join_data(root: Path, change: Transaction, rows: list[Row], kept: set[str]) -> set[str]:
    """Returns the old files; adds to `kept` those that stay as they are."""
    sources = _sources(rows, lambda row: v30.DATA_PATH.format(**_place(row, "data/")))
    for number, group in enumerate(_grouped(root, sources, v30.DATA_FILE_MB)):
        place = v30.chunk_and_file(number)
        target = v30.DATA_PATH.format(**place)
        if [source.path for source in group] == [target]:
            kept.add(target)
            continue
        schema = pq.read_schema(root / group[0].path)
        with pq.ParquetWriter(change.path(target), schema, compression="snappy") as writer:
            for source in group:
                with pq.ParquetFile(root / source.path) as file:
                    for episode in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(episode))
        for source in group:
            for row in source.rows:
                row |= {f"data/{key}": value for key, value in place.items()}
    return {source.path for source in sources}


def _join_videos(
    root: Path, change: Transaction, rows: list[Row], key: str, fps: float, kept: set[str]
) -> set[str]:
    prefix = f"videos/{key}/"
    sources = _sources(rows, lambda row: v30.VIDEO_PATH.format(video_key=key, **_place(row, prefix)))
    settings = {source.path: probe(root / source.path).settings for source in sources}
    groups = _grouped(root, sources, v30.VIDEO_FILE_MB, kind=lambda source: settings[source.path])
    for number, group in enumerate(groups):
        place = v30.chunk_and_file(number)
        target = v30.VIDEO_PATH.format(video_key=key, **place)
        if [source.path for source in group] == [target]:
            kept.add(target)
            continue
        lengths = [round(max(row[f"{prefix}to_timestamp"] for row in s.rows) * fps) for s in group]
        join([root / source.path for source in group], change.path(target), fps, lengths)
        frames_before = 0
        for source, length in zip(group, lengths):
            for row in source.rows:
                start = frames_before + round(row[f"{prefix}from_timestamp"] * fps)
                clip = {"from_timestamp": start / fps, "to_timestamp": (start + row["length"]) / fps}
                row |= {f"{prefix}{part}": value for part, value in {**place, **clip}.items()}
            frames_before += length
    return {source.path for source in sources}


def _place(row: Row, prefix: str) -> dict[str, int]:
    return {key: row[prefix + key] for key in ("chunk_index", "file_index")}


def _sources(rows: Sequence[Row], path_of: Callable[[Row], str]) -> list[_Source]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(path_of(row), []).append(row)
    return [_Source(path=path, rows=rows) for path, rows in found.items()]


def _grouped(
    root: Path,
    sources: Sequence[_Source],
    limit_mb: int,
    kind: Callable[[_Source], object] = lambda source: None,
) -> list[list[_Source]]:
    """Neighbouring sources of one kind whose sizes add up to at most `limit_mb`."""
    groups: list[list[_Source]] = []
    filled = 0
    for source in sources:
        size = (root / source.path).stat().st_size
        if not groups or filled + size > limit_mb * 2**20 or kind(groups[-1][-1]) != kind(source):
            groups.append([])
            filled = 0
        groups[-1].append(source)
        filled += size
    return groups
