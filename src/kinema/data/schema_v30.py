"""The files of LeRobotDataset v3.0: names, parquet schemas, reading and writing of single files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kinema.data.metadata import Clip, EpisodeRecord, Features, Metadata, camera_keys
from kinema.data.statistics import Statistics
from kinema.schema import KinemaError

VERSION = "v3.0"
TASKS = "meta/tasks.parquet"
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


def read(root: Path, info: Mapping[str, Any]) -> Metadata:
    """Metadata of a v3.0 data set whose info.json was read. Raises KinemaError naming file and fault."""
    total = int(info.get("total_episodes", 0))
    rows = read_episode_rows(root, info["features"]) if total else []
    if len(rows) < total:
        raise KinemaError(
            f"{root}: info.json counts {total} episodes, meta/episodes holds {len(rows)}; "
            f"the recording was cut off: run `kinema data repair {root}`"
        )
    episodes = tuple(episode_record(row, info) for row in rows[:total])
    for position, episode in enumerate(episodes):
        if episode.index != position:
            raise KinemaError(
                f"{root}/meta/episodes: row {position} is episode {episode.index} (index gap); "
                f"run `kinema data repair {root}`"
            )
    return Metadata(
        root=root,
        version=str(info["codebase_version"]),
        robot_type=info.get("robot_type"),
        fps=float(info["fps"]),
        features=info["features"],
        tasks=read_tasks(root) if total else (),
        episodes=episodes,
        info=info,
    )


def read_episode_rows(root: Path, features: Features) -> list[dict[str, Any]]:
    """Rows of meta/episodes without the per-episode statistics, in file order."""
    paths = sorted((root / "meta/episodes").glob("*/*.parquet"))
    if not paths:
        raise KinemaError(f"{root}/meta/episodes holds no parquet file")
    return [row for path in paths for row in read_episode_file(path, features)]


def read_episode_file(path: Path, features: Features) -> list[dict[str, Any]]:
    """Rows of one file of meta/episodes without the per-episode statistics."""
    wanted = ["episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index"]
    wanted += ["data/chunk_index", "data/file_index"]
    for key in camera_keys(features):
        if features[key]["dtype"] == "video":
            wanted += [f"videos/{key}/{part}" for part in _CLIP_COLUMNS]
    return read_table(path, wanted).to_pylist()


_CLIP_COLUMNS = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")


def episode_record(row: Mapping[str, Any], info: Mapping[str, Any]) -> EpisodeRecord:
    clips = {}
    for key in camera_keys(info["features"]):
        if info["features"][key]["dtype"] != "video":
            continue
        chunk, file, start_s, end_s = (row[f"videos/{key}/{part}"] for part in _CLIP_COLUMNS)
        path = info["video_path"].format(video_key=key, chunk_index=chunk, file_index=file)
        clips[key] = Clip(path=path, start_s=start_s, end_s=end_s)
    return EpisodeRecord(
        index=row["episode_index"],
        length=row["length"],
        tasks=tuple(row["tasks"]),
        data_path=info["data_path"].format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        ),
        first_row=row["dataset_from_index"],
        clips=clips,
    )


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A parquet file's columns. Raises KinemaError when it is missing, truncated or lacks a column."""
    try:
        with pq.ParquetFile(path) as file:
            lacking = sorted(set(columns or ()) - set(file.schema_arrow.names))
            if lacking:
                raise KinemaError(f"{path} lacks the columns {lacking}; it has {file.schema_arrow.names}")
            return file.read(columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise KinemaError(f"{path} is missing") from None
    except (pa.ArrowException, OSError) as error:
        raise KinemaError(f"{path} is not a readable parquet file (truncated?): {error}") from error


def read_tasks(root: Path) -> tuple[str, ...]:
    """The instructions, in the order of their numbers."""
    path = root / TASKS
    table = read_table(path)
    if "task_index" not in table.column_names:
        raise KinemaError(f"{path} lacks the column 'task_index'; it has {table.column_names}")
    names = [name for name in table.column_names if name != "task_index"]
    if len(names) != 1:
        raise KinemaError(f"{path} must hold task_index and one column of texts; it has {table.column_names}")
    numbered = dict(zip(table["task_index"].to_pylist(), table[names[0]].to_pylist()))
    if sorted(numbered) != list(range(len(numbered))):
        raise KinemaError(f"{path}: task numbers must be 0 … {len(numbered) - 1}; got {sorted(numbered)}")
    return tuple(numbered[i] for i in range(len(numbered)))


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
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)


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


def column_values(table: pa.Table, name: str) -> np.ndarray:
    """A numeric column as (T, n), n = 1 for plain numbers. KinemaError when its rows differ in length."""
    column = table.column(name)
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if any(is_kind(column.type) for is_kind in kinds):
        parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
        flat = np.concatenate(parts or [np.zeros(0)])
        if len(column) and len(flat) % len(column):
            raise KinemaError(f"column {name!r}: rows of unequal length")
        return flat.reshape(len(column), -1)
    return column.to_numpy()[:, None]


def episode_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of meta/episodes with explicit types, so that files of different episodes always agree."""
    names = list(rows[0])
    return pa.table({name: pa.array([row[name] for row in rows], _episode_type(name)) for name in names})


def _episode_type(name: str) -> pa.DataType:
    if name.startswith("stats/"):
        if name.endswith("/count"):
            return pa.list_(pa.int64())
        if name.startswith("stats/observation.images."):
            return pa.list_(pa.list_(pa.list_(pa.float64())))
        return pa.list_(pa.float64())
    if name == "tasks":
        return pa.list_(pa.string())
    return pa.float64() if name.endswith("timestamp") else pa.int64()


def flat_statistics(statistics: Mapping[str, Statistics]) -> dict[str, Any]:
    """Per-episode statistics as columns of meta/episodes."""
    return {f"stats/{name}/{key}": value for name, s in statistics.items() for key, value in s.items()}
