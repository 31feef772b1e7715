"""The files of LeRobotDataset v3.0: names, parquet schemas, reading and writing of single files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kinema.data.columns import leaf_type, numbers, read_table, replaced, whole_numbers, write_table
from kinema.data.episodes import Clips, Episodes, Files, check_template, no_tasks, rows_with_null
from kinema.data.fault import Fault, Kind
from kinema.data.metadata import Features, video_keys
from kinema.data.remote import here
from kinema.data.statistics import Statistics
from kinema.schema import KinemaError

VERSION = "v3.0"
EPISODES, TASKS = "meta/episodes", "meta/tasks.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_PER_CHUNK = 1000
DATA_FILE_MB, VIDEO_FILE_MB = 100, 200

# Columns that every data set has, filled by the writer.
DEFAULT_FEATURES: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}


def chunk_and_file(number: int) -> dict[str, int]:
    """The place of the n-th file of a kind."""
    return {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}


def episode_files(root: Path) -> list[Path]:
    """The files of meta/episodes, in order; what a file manager left beside them is not among them."""
    return visible(root, "meta/episodes/*/*.parquet")


def visible(root: Path, pattern: str) -> list[Path]:
    """Files below the data set in the order of their names, without hidden ones (macOS writes `._*`)."""
    return sorted(path for path in root.glob(pattern) if not path.name.startswith("."))


def read_episodes(root: Path, info: Mapping[str, Any]) -> tuple[Episodes, list[Fault]]:
    """The episode table, and the files and rows that cannot be used; one bad file hides no other."""
    parts: list[_Columns] = []
    faults: list[Fault] = []
    paths = episode_files(root)
    if not paths and info["total_episodes"]:
        detail = f"{root}/meta/episodes holds no parquet file"
        faults.append(Fault(kind=Kind.MISSING, where="meta/episodes", detail=detail, repairable=True))
    for path in paths:
        where = str(path.relative_to(root))
        try:
            part = _read_columns(path, info["features"])
        except (KinemaError, TypeError) as error:
            detail = str(error) if isinstance(error, KinemaError) else f"{path}: {error}"
            faults.append(Fault(kind=Kind.UNREADABLE, where=where, detail=detail, repairable=True))
            continue
        usable, told = _usable(part, info)
        faults += [
            Fault(kind=Kind.METADATA, where=where, detail=f"row {row}: {why}", repairable=True)
            for row, why in told
        ]
        parts.append(part.chosen(usable))
    return episodes_of(parts, info), faults


_CLIP_COLUMNS = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
_PLACE = (("chunk_index",), ("file_index",))


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """One file of the episode table: numbers (E,) by column, and the tasks of each row."""

    numbers: Mapping[str, np.ndarray]
    tasks: pa.Array

    def chosen(self, rows: np.ndarray) -> _Columns:
        return _Columns(
            numbers={name: values[rows] for name, values in self.numbers.items()},
            tasks=self.tasks.take(pa.array(rows)),
        )


def _read_columns(path: Path, features: Features) -> _Columns:
    """Raises KinemaError or TypeError when a column is missing or of the wrong kind."""
    whole = ["episode_index", "length", "dataset_from_index", "dataset_to_index"]
    whole += ["data/chunk_index", "data/file_index"]
    times = []
    for key in video_keys(features):
        whole += [f"videos/{key}/{part}" for part in _CLIP_COLUMNS[:2]]
        times += [f"videos/{key}/{part}" for part in _CLIP_COLUMNS[2:]]
    table = read_table(path, lambda names: [*whole, *times, *(name for name in names if name == "tasks")])
    columns = {name: whole_numbers(table, name) for name in whole}
    for name in times:
        found = numbers(table.column(name), 1)
        if found.bad:
            raise TypeError(f"{name} {next(iter(found.bad.values()))}")
        columns[name] = found.values[:, 0].astype(float)
    tasks = _texts(table.column("tasks")) if "tasks" in table.column_names else no_tasks(len(table))
    return _Columns(numbers=columns, tasks=tasks)


def _texts(column: pa.ChunkedArray) -> pa.Array:
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not is_text(kind.value_type):
        raise TypeError(f"tasks holds {kind}, not lists of texts")
    texts = column.cast(pa.list_(pa.string())).combine_chunks()
    if isinstance(texts, pa.ChunkedArray):  # what combining none gives
        texts = pa.array([], texts.type)
    return texts


def _usable(part: _Columns, info: Mapping[str, Any]) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """The rows that can be used, and what is wrong in which row (in one that can be used, too)."""
    told: dict[int, str] = {}

    def tell(rows: np.ndarray, why: Callable[[int], str]) -> None:
        for row in np.flatnonzero(rows).tolist():
            told.setdefault(row, why(row))

    columns = part.numbers
    for name, values in columns.items():
        outside = ~((values >= 0) & (values < 2**40))  # not finite, negative or absurd
        tell(outside, partial(_value_of, name, values))
    if part.tasks.null_count < len(part.tasks):
        holds = np.zeros(len(part.tasks), bool)
        holds[rows_with_null(part.tasks)] = True
        tell(holds, lambda row: "tasks holds a null")
    length = columns["length"]
    tell(~((length > 0) & (length < 2**31)), lambda row: f"length is {length[row]}")
    try:
        templates = {"": info["data_path"]} | {
            key: info["video_path"] for key in video_keys(info["features"])
        }
        for key, template in templates.items():
            check_template(template, _PLACE, key)
    except ValueError as error:
        said = str(error)
        tell(np.ones(len(length), bool), lambda row: said)
    usable = np.setdiff1d(np.arange(len(length)), list(told))
    end, stated = columns["dataset_from_index"] + length, columns["dataset_to_index"]
    tell(stated != end, lambda row: f"dataset_to_index is {stated[row]}, expected {end[row]}")
    return usable, sorted(told.items())


def _value_of(name: str, values: np.ndarray, row: int) -> str:
    return f"{name} is {values[row]}"


def episodes_of(parts: Sequence[_Columns], info: Mapping[str, Any]) -> Episodes:
    def column(name: str, kind: type) -> np.ndarray:
        return np.concatenate([np.zeros(0, kind), *(part.numbers[name] for part in parts)]).astype(kind)

    clips = {}
    for key in video_keys(info["features"]):
        chunk, file = (column(f"videos/{key}/{part}", int) for part in _CLIP_COLUMNS[:2])
        start_s, end_s = (column(f"videos/{key}/{part}", float) for part in _CLIP_COLUMNS[2:])
        files = Files.from_columns(info["video_path"], _PLACE, chunk, file, key)
        clips[key] = Clips(files=files, start_s=start_s, end_s=end_s)
    return Episodes(
        number=column("episode_index", int),
        length=column("length", int),
        first_row=column("dataset_from_index", int),
        data=Files.from_columns(
            info["data_path"], _PLACE, column("data/chunk_index", int), column("data/file_index", int)
        ),
        clips=clips,
        tasks=pa.concat_arrays([no_tasks(0), *(part.tasks for part in parts)]),
    )


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def read_schema(path: Path) -> pa.Schema:
    """A parquet file's columns. Raises KinemaError when it cannot be read."""
    try:
        return pq.read_schema(here(path))
    except FileNotFoundError:
        raise KinemaError(f"{path} is missing") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise KinemaError(f"{path} is not a readable parquet file (truncated?): {error}") from None


def read_tasks(root: Path) -> tuple[str, ...]:
    """The instructions, in the order of their numbers. Raises KinemaError naming file and fault."""
    path = root / TASKS
    table = read_table(path)
    try:
        if "task_index" not in table.column_names:
            raise TypeError(f"lacks the column 'task_index'; it has {table.column_names}")
        texts = table[_text_column(table)].to_pylist()
        positions = whole_numbers(table, "task_index").tolist()
        if None in texts:
            raise TypeError(f"task {positions[texts.index(None)]} is null")
        if sorted(positions) != list(range(len(positions))):
            raise TypeError(f"task numbers must be 0 … {len(positions) - 1}; got {sorted(positions)[:20]}")
    except TypeError as error:
        raise KinemaError(f"{path}: {error}") from None
    numbered = dict(zip(positions, texts))
    return tuple(numbered[i] for i in range(len(numbered)))


def _text_column(table: pa.Table) -> str:
    """The column of the instructions: pandas' index (lerobot's way), `task`, or the only one of texts."""
    texts = [f.name for f in table.schema if is_text(f.type)]
    try:
        marked = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))["index_columns"]
    except (ValueError, KeyError, TypeError):
        marked = []
    named = [name for name in marked if isinstance(name, str)] if isinstance(marked, list) else []
    for name in [*named, "task", *texts[: len(texts) == 1]]:
        if name in texts:
            return str(name)
    raise TypeError(f"must hold task_index and a column of texts; it has {table.column_names}")


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """The table as pandas stores a frame with the text as its index (lerobot reads it with pandas)."""
    fields = [("task_index", "int64", "int64"), ("task", "unicode", "object")]
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": n, "field_name": n, "pandas_type": p, "numpy_type": t, "metadata": None}
            for n, p, t in fields
        ],
        "pandas_version": "2.2.0",
    }
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(list(tasks), pa.string())}
    )
    write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)


def data_schema(features: Features) -> pa.Schema:
    """The parquet columns: a number for shape (1,), a list of fixed length for (n,). Videos are not in it."""
    fields = []
    for name, feature in features.items():
        if feature["dtype"] == "video":
            continue
        item = pa.type_for_alias(feature["dtype"])
        shape = tuple(feature["shape"])
        if len(shape) != 1:
            raise KinemaError(f"feature {name!r}: only one axis can be written; got shape {shape}")
        fields.append(pa.field(name, item if shape == (1,) else pa.list_(item, shape[0])))
    return pa.schema(fields)


def data_table(columns: Mapping[str, np.ndarray], features: Features) -> pa.Table:
    """Arrays (T,) or (T, n) as the parquet table of one episode."""
    schema = data_schema(features)
    arrays = []
    for field in schema:
        values = np.asarray(columns[field.name], features[field.name]["dtype"])
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(np.ascontiguousarray(values).reshape(-1), field.type.value_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size))
        else:
            arrays.append(pa.array(values.reshape(-1), field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def read_episode_table(root: Path) -> pa.Table:
    """All files of meta/episodes as one table, with every column that any of them has.

    A column that files of several writers hold with several types has the type that keeps all values.
    Raises KinemaError naming the file that cannot be read.
    """
    return joined([read_table(path) for path in episode_files(root)])


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables on end, with every column that any of them has (see `read_episode_table`)."""
    fields: dict[str, pa.DataType] = {}
    for table in tables:
        for field in table.schema:
            known = fields.get(field.name)
            if known is None or (pa.types.is_floating(leaf_type(field.type)) and known != field.type):
                fields[field.name] = field.type
    schema = pa.schema(list(fields.items()))
    whole = []
    for table in tables:
        for name, kind in fields.items():
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(len(table), kind))
        whole.append(table.select(schema.names).cast(schema))
    return pa.concat_tables(whole)


def rows_as_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of meta/episodes; a column has the type of its first value."""
    arrays = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        arrays[name] = pa.array(values, _type_of(values[0]))
    return pa.table(arrays)


def with_statistics(table: pa.Table, statistics: Sequence[Mapping[str, Statistics]]) -> pa.Table:
    """The episode table with the columns `stats/…` of these features replaced, all others as they are.

    statistics: of each row's episode
    """
    rows = [flat_statistics(of_episode) for of_episode in statistics]
    columns = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        kind = _type_of(values[0])
        if name in table.column_names:
            kind = _as_it_was(table.schema.field(name).type, kind)
        columns[name] = pa.array(values).cast(kind)
    return replaced(table, columns)


def _as_it_was(old: pa.DataType, new: pa.DataType) -> pa.DataType:
    """The old type where it can hold what the new one does (the least of a flag is true or false)."""
    depths = [str(kind).count("list") for kind in (old, new)]
    leaf = leaf_type(old)
    fits = pa.types.is_integer(leaf) or pa.types.is_floating(leaf) or pa.types.is_boolean(leaf)
    return old if depths[0] == depths[1] and fits else new


def _type_of(value: Any) -> pa.DataType:
    """int64, double, text, or lists of them."""
    if isinstance(value, list | tuple):
        return pa.list_(_type_of(value[0]) if value else pa.float64())
    if isinstance(value, str):
        return pa.string()
    return pa.int64() if isinstance(value, int) else pa.float64()


def flat_statistics(statistics: Mapping[str, Statistics]) -> dict[str, Any]:
    """Per-episode statistics as columns of meta/episodes."""
    return {f"stats/{name}/{key}": value for name, s in statistics.items() for key, value in s.items()}
