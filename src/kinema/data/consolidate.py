"""Joining a recording's small files into files of the format's size limits, as one change to the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kinema.data import checksums
from kinema.data import schema_v30 as v30
from kinema.data.columns import replaced, write_table, writer
from kinema.data.info import place_of, read_info
from kinema.data.journal import Transaction
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
    table = v30.read_episode_table(root).slice(0, info["total_episodes"])
    places = [name for name in table.column_names if name.startswith(("data/", "videos/", "meta/episodes/"))]
    rows: list[Row] = table.select([*places, "length"]).to_pylist()
    change = Transaction(root)
    try:
        old = {str(path.relative_to(root)) for path in v30.episode_files(root)}
        kept: set[str] = set()
        old |= _join_data(root, change, rows, info["data_path"], kept)
        for key, feature in info["features"].items():
            if feature["dtype"] == "video":
                old |= _join_videos(root, change, rows, key, info, kept)
        for number, start in enumerate(range(0, len(rows), _EPISODES_PER_METADATA_FILE)):
            place = v30.chunk_and_file(number)
            part = table.slice(start, _EPISODES_PER_METADATA_FILE)
            moved = rows[start : start + _EPISODES_PER_METADATA_FILE]
            for row in moved:
                row |= {f"meta/episodes/{key}": value for key, value in place.items()}
            write_table(_with_places(part, moved), change.path(v30.EPISODES_PATH.format(**place)))
        old |= set(checksums.stage_all(change, root, kept))
        change.commit(remove=tuple(old - kept))
    except BaseException:
        change.abandon()
        raise


def _with_places(table: pa.Table, rows: Sequence[Row]) -> pa.Table:
    """The episode table with the places that its rows have now, every column of the type it had."""
    columns = {}
    for name in rows[0]:
        kind = table.schema.field(name).type if name in table.column_names else pa.int64()
        columns[name] = pa.array([row[name] for row in rows], kind)
    return replaced(table, columns)


def _join_data(root: Path, change: Transaction, rows: list[Row], template: str, kept: set[str]) -> set[str]:
    """Returns the old files; adds to `kept` those that stay as they are."""
    sources = _sources(rows, lambda row: place_of(template, _place(row, "data/")))
    for number, group in enumerate(_grouped(root, sources, v30.DATA_FILE_MB)):
        place = v30.chunk_and_file(number)
        target = place_of(template, place)
        if [source.path for source in group] == [target]:
            kept.add(target)
            continue
        schema = pq.read_schema(root / group[0].path)
        with writer(change.path(target), schema) as joined:
            for source in group:
                with pq.ParquetFile(root / source.path, page_checksum_verification=True) as file:
                    for part in range(file.num_row_groups):
                        joined.write_table(file.read_row_group(part).select(schema.names).cast(schema))
        for source in group:
            for row in source.rows:
                row |= {f"data/{key}": value for key, value in place.items()}
    return {source.path for source in sources}


def _join_videos(
    root: Path, change: Transaction, rows: list[Row], key: str, info: Mapping[str, Any], kept: set[str]
) -> set[str]:
    prefix, fps = f"videos/{key}/", float(info["fps"])

    def path_of(place: Mapping[str, int]) -> str:
        return place_of(info["video_path"], {**place, "video_key": key})

    sources = _sources(rows, lambda row: path_of(_place(row, prefix)))
    streams = {source.path: probe(root / source.path) for source in sources}
    groups = _grouped(root, sources, v30.VIDEO_FILE_MB, kind=lambda source: streams[source.path].settings)
    for number, group in enumerate(groups):
        place = v30.chunk_and_file(number)
        target = path_of(place)
        if [source.path for source in group] == [target]:
            kept.add(target)
            continue
        lengths = [len(streams[source.path].times_s) for source in group]
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
