"""Everything a data set has on disk, read file by file, so that one bad file hides no other.

This is the only reader of the format, whatever its version: `verify` names the faults of a scan, and a
`Dataset` is built from a scan without any that would be read wrongly.

Axes: T rows of a data file, n numbers of a column's row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import pyarrow as pa

from kinema.data import remote
from kinema.data import schema_v21 as v21
from kinema.data import schema_v30 as v30
from kinema.data.columns import numbers, read_table, read_what_is_left, whole_numbers
from kinema.data.episodes import Episodes
from kinema.data.fault import Fault, Kind
from kinema.data.info import read_info
from kinema.data.metadata import NUMBERS, EpisodeRecord, Metadata, number_keys, vector_keys, video_keys
from kinema.data.video import Stream, probe
from kinema.schema import KinemaError

EXACT = ("episode_index", "frame_index", "index", "task_index")


@dataclass(kw_only=True)
class DataFile:
    """The numbers of one parquet file.

    rows:   which of its rows belong to an episode, in the order in which they stand there
    bad:    by column, the rows that hold nothing or not as many numbers as they should
    wrong:  by column, why it cannot be read at all
    """

    columns: dict[str, np.ndarray]  # (T, n)
    rows: dict[int, np.ndarray]
    lost: str = ""  # which rows are in damaged parts of the file, in words
    bad: dict[str, dict[int, str]] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return len(self.columns["episode_index"])


@dataclass(kw_only=True)
class Scan:
    """What could be read, and for each file that could not, why (`errors`, by path below the root)."""

    root: Path
    info: Mapping[str, Any]
    records: Episodes  # as the episode table has them
    files: dict[str, DataFile] = field(default_factory=dict)
    tasks: tuple[str, ...] | None = None
    errors: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)  # of the metadata, met while reading it
    _probed: dict[str, Stream | None] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        return float(self.info["fps"])

    @property
    def version(self) -> str:
        return str(self.info["codebase_version"])

    @property
    def is_v30(self) -> bool:
        return self.version.startswith("v3.")

    @property
    def tasks_path(self) -> str:
        return v30.TASKS if self.is_v30 else v21.TASKS

    @property
    def episodes_path(self) -> str:
        return v30.EPISODES if self.is_v30 else v21.EPISODES

    @property
    def video_keys(self) -> tuple[str, ...]:
        return video_keys(self.info["features"])

    @cached_property
    def by_number(self) -> dict[int, EpisodeRecord]:
        return {record.index: record for record in self.records}

    @cached_property
    def camera_of(self) -> dict[str, str]:
        """The camera's feature, by the path of a video file that an episode names."""
        return {path: key for key, clips in self.records.clips.items() for path in clips.files.paths()}

    @cached_property
    def videos(self) -> dict[str, Stream]:
        """What each video file holds; those that cannot be opened are in `errors` afterwards."""
        paths = sorted({*self.camera_of, *self._below("videos", ".mp4")})
        return {path: stream for path in paths if (stream := self.video(path)) is not None}

    def video(self, path: str) -> Stream | None:
        """What one video file holds; None, and a line in `errors`, where it cannot be opened."""
        if path not in self._probed:
            try:
                self._probed[path] = probe(self.root / path)
            except KinemaError as error:
                self._probed[path], self.errors[path] = None, str(error)
        return self._probed[path]

    @property
    def unusable(self) -> set[str]:
        """Files of the episode table that cannot be read at all."""
        return {fault.where for fault in self.faults if fault.kind in (Kind.UNREADABLE, Kind.MISSING)}

    def camera_at(self, path: str) -> str | None:
        """The camera whose video file this could be, named by an episode or not."""
        if path in self.camera_of:
            return self.camera_of[path]
        return next((key for key in self.video_keys if self.numbers_of(key, path) is not None), None)

    def numbers_of(self, key: str, path: str) -> tuple[int, int] | None:
        """The chunk and file number (v3.0) that the template gives this path of a camera's video."""
        pattern = ""
        for text, name, _, _ in Formatter().parse(self.info["video_path"]):
            pattern += re.escape(text)
            if name == "video_key":
                pattern += re.escape(key)
            elif name is not None:
                pattern += rf"(?P<{name}>\d+)" if f"<{name}>" not in pattern else r"\d+"
        found = re.fullmatch(pattern, path)
        if found is None:
            return None
        numbers_ = found.groupdict()
        return int(numbers_.get("chunk_index", 0)), int(numbers_.get("file_index", 0))

    def data_paths(self) -> list[str]:
        """Data files that lie there or are named."""
        return sorted({*self.records.data_files, *self._below("data", ".parquet")})

    @cached_property
    def listed(self) -> frozenset[str]:
        """The files below data and videos, by their paths below the root; of a mirror, those it can bring."""
        below = len(str(self.root)) + 1
        there = frozenset(
            f"{folder[below:]}/{name}"
            for top in ("data", "videos")
            for folder, _, names in os.walk(self.root / top, followlinks=True)
            for name in names
        )
        return there | remote.names(self.root)

    def _below(self, folder: str, suffix: str) -> list[str]:
        paths = v30.visible(self.root / folder, f"**/*{suffix}")
        return [str(path.relative_to(self.root)) for path in paths if path.is_file()]

    def rows_of(self, record: EpisodeRecord) -> np.ndarray | None:
        """The rows of an episode in its data file; None when the file cannot be read."""
        file = self.files.get(record.data_path)
        return None if file is None else file.rows.get(record.index, np.zeros(0, np.int64))

    def column(self, path: str, name: str) -> np.ndarray:
        """A numeric column (T, n) of a data file that is not kept in memory. Raises KinemaError."""
        width = int(np.prod(self.info["features"][name]["shape"], dtype=int))
        try:
            found = numbers(read_table(self.root / path, [name]).column(name), width)
        except TypeError as error:
            raise KinemaError(f"{self.root / path}: {name} {error}") from None
        for row, detail in found.bad.items():
            raise KinemaError(f"{self.root / path}: {name} {detail} in row {row}")
        return found.values

    def metadata(self) -> Metadata:
        return Metadata(
            root=self.root,
            version=self.version,
            robot_type=self.info.get("robot_type"),
            fps=self.fps,
            features=self.info["features"],
            tasks=self.tasks or (),
            episodes=self.records,
            info=self.info,
        )


def scan(root: Path, info: Mapping[str, Any] | None = None, *, with_numbers: bool = True) -> Scan:
    """Read the metadata and the numbers of the data set at `root`; videos are opened when asked for.

    with_numbers: False reads the metadata alone. Raises KinemaError when info.json itself cannot be used.
    """
    info = read_info(root) if info is None else info
    schema = v30 if info["codebase_version"].startswith("v3.") else v21
    records, faults = _no_episodes(info), []
    if info["total_episodes"] or (root / schema.EPISODES).exists():
        records, faults = schema.read_episodes(root, info)
    found = Scan(root=root, info=info, records=records, faults=faults, tasks=())
    if found.records or (root / found.tasks_path).exists():
        try:
            found.tasks = schema.read_tasks(root)
        except KinemaError as error:
            found.tasks, found.errors[found.tasks_path] = None, str(error)
    for path in found.data_paths() if with_numbers else ():
        try:
            found.files[path] = read_data_file(root / path, info["features"])
        except KinemaError as error:
            found.errors[path] = str(error)
    return found


def _no_episodes(info: Mapping[str, Any]) -> Episodes:
    return v30.episodes_of((), info)


def read_data_file(path: Path, features: Mapping[str, Mapping[str, Any]]) -> DataFile:
    """The vectors of a data file. Raises KinemaError when it does not say which row is whose."""
    schema = v30.read_schema(path)
    there = [name for name in vector_keys(features) if name in schema.names]
    file = DataFile(columns={}, rows={})
    try:
        table, lost = read_table(path, there), np.zeros(0, bool)
    except KinemaError as error:
        table, lost = read_what_is_left(path, there)
        if lost.all():
            raise
        file.lost = f"{lost.sum()} of {len(lost)} rows, first {np.argmax(lost)}: {error}"
        table = table.filter(pa.array(~lost))
    try:
        for name in EXACT:
            if name not in there:
                raise TypeError(f"lacks the column {name!r}; it has {schema.names}")
            file.columns[name] = whole_numbers(table, name)[:, None]
    except TypeError as error:
        raise KinemaError(f"{path}: {error}") from None
    for name in number_keys(features):
        if name in there and name not in EXACT:
            _take(
                file, table, name, int(np.prod(features[name]["shape"], dtype=int)), features[name]["dtype"]
            )
    for name, feature in features.items():
        if feature["dtype"] in (*NUMBERS, "string", "image") and name not in schema.names:
            file.wrong[name] = "is missing"
    if "timestamp" in file.wrong:
        raise KinemaError(f"{path}: timestamp {file.wrong['timestamp']}")
    file.rows = rows_by_episode(file.columns["episode_index"][:, 0])
    return _spread_out(file, np.flatnonzero(~lost), len(lost)) if file.lost else file


def _spread_out(file: DataFile, kept: np.ndarray, length: int) -> DataFile:
    """Put what could be read where it stands in the file; the rows between belong to no episode."""
    for name, values in file.columns.items():
        whole = np.zeros((length, values.shape[1]), values.dtype)
        whole[kept] = values
        file.columns[name] = whole
    file.rows = {number: kept[rows] for number, rows in file.rows.items()}
    file.bad = {name: {int(kept[row]): why for row, why in bad.items()} for name, bad in file.bad.items()}
    return file


def _take(file: DataFile, table: pa.Table, name: str, width: int, dtype: str) -> None:
    try:
        found = numbers(table.column(name), width)
    except TypeError as error:
        file.wrong[name] = str(error)
        return
    if found.values.dtype.kind == "f" and not dtype.startswith("float"):
        file.wrong[name] = f"holds {found.values.dtype}, info.json says {dtype}"
        return
    file.columns[name] = found.values
    if found.bad:
        file.bad[name] = found.bad


def rows_by_episode(numbers_: np.ndarray) -> dict[int, np.ndarray]:
    """The rows (k,) of each episode, in the order in which the episodes begin in the file."""
    edges = np.flatnonzero(np.diff(numbers_)) + 1
    starts = np.concatenate([[0], edges]) if len(numbers_) else edges
    ends = np.concatenate([edges, [len(numbers_)]]) if len(numbers_) else edges
    rows: dict[int, np.ndarray] = {}
    for number, start, end in zip(numbers_[starts].tolist(), starts.tolist(), ends.tolist()):
        part = np.arange(start, end)
        rows[number] = np.concatenate([rows[number], part]) if number in rows else part
    return rows


def gathered(found: Scan, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns (N, n) of all episodes on end, in the order of the episode table."""
    if not found.records:
        features = found.info["features"]
        return {
            name: np.zeros((0, int(np.prod(features[name]["shape"], dtype=int))), features[name]["dtype"])
            for name in names
        }
    paths, of = list(found.records.data_files), found.records.data.of
    starts = np.cumsum([0, *(found.files[path].length for path in paths)])
    order = np.concatenate(
        [
            starts[file] + found.files[paths[file]].rows[number]
            for file, number in zip(of.tolist(), found.records.number.tolist())
        ]
    )
    in_order = len(order) == sum(found.files[path].length for path in paths)
    in_order = in_order and bool((order == np.arange(len(order))).all())
    columns = {}
    for name in names:
        values = np.concatenate([found.files[path].columns[name] for path in paths])
        columns[name] = values if in_order else values[order]
    return columns
