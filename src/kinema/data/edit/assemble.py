"""A new v3.0 set made of episodes of others: rows and tables are written anew, pictures are kept as they are.

Axes: k episodes of one set, E episodes of the new one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kinema.data import captions
from kinema.data import schema_v30 as v30
from kinema.data.columns import read_table, replaced, to_arrow, write_table
from kinema.data.consolidate import consolidate
from kinema.data.data_files import DataFiles
from kinema.data.edit.change import AS_THEY_ARE, Change
from kinema.data.edit.videos import groups, video_info, write_video
from kinema.data.index import Index
from kinema.data.journal import Transaction
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import whole
from kinema.data.measure import stage_statistics
from kinema.data.metadata import INFO, PICTURES, Features, camera_keys, is_depth
from kinema.data.numbers import read_part
from kinema.data.set_map import FILE as MAP_FILE
from kinema.data.video import probe
from kinema.schema import KinemaError

_EPISODES_PER_METADATA_FILE = 4000
_OF_OLD_VERSIONS = ("total_chunks", "total_videos")  # keys of info.json
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Episodes of one set: their positions (k,), ascending."""

    index: Index
    episodes: np.ndarray


def all_of(index: Index) -> Part:
    return Part(index=index, episodes=np.arange(index.num_episodes))


def assemble(parts: Sequence[Part], root: Path, change: Change = AS_THEY_ARE) -> None:
    """Write a set of these episodes, one part after the other, into the empty folder `root`.

    Raises KinemaError where the sets cannot be one, hold a fault or would give an empty one.
    """
    if not sum(len(part.episodes) for part in parts):
        raise KinemaError("no episode would be left")
    features = change.features(_common_features(parts))
    tasks: dict[str, int] = {}
    rows: list[Row] = []
    with DataFiles(lambda place: root / v30.DATA_PATH.format(**place)) as files:
        for part in parts:
            _write_rows(part, files, change, features, tasks, rows)
    for key in camera_keys(parts[0].index.found.info["features"]):
        new = change.name(key)
        if new is not None and features[new]["dtype"] == "video":
            _write_videos(parts, root, key, new, features[new], rows, change)
    _write_tables(parts, root, rows, change, features, list(tasks))
    _keep_beside(parts, root)
    if all(_same_rate(path, parts[0].index.fps) for path in root.glob("videos/*/*/*.mp4")):
        consolidate(root)
    state = Transaction(root)
    stage_statistics(Dataset.open(root), state)
    state.commit()


def _common_features(parts: Sequence[Part]) -> Features:
    """The features that all sets have. Raises KinemaError naming what differs."""
    first = parts[0].index
    for part in parts[1:]:
        other = part.index
        said = {
            "rate": (first.fps, other.fps),
            "robot_type": (first.card_name, other.card_name),
            **_described(first, other),
        }
        for what, (mine, theirs) in said.items():
            if mine != theirs:
                raise KinemaError(
                    f"{first.root} and {other.root} cannot be one set: {what} is {mine!r} and {theirs!r}"
                )
    common = {name: dict(feature) for name, feature in first.found.info["features"].items()}
    for part in parts[1:]:  # what is said of the videos is kept where it is true of all
        for name, feature in part.index.found.info["features"].items():
            told, other_told = common[name].get("info"), feature.get("info")
            if told and told != other_told:
                common[name]["info"] = {k: v for k, v in told.items() if (other_told or {}).get(k) == v}
    return common


def _described(first: Index, other: Index) -> dict[str, tuple[Any, Any]]:
    mine, theirs = first.found.info["features"], other.found.info["features"]
    said: dict[str, tuple[Any, Any]] = {"features": (sorted(mine), sorted(theirs))}
    for name in mine.keys() & theirs.keys():
        for what in ("dtype", "shape", "names", "units"):
            said[f"{what} of {name}"] = (mine[name].get(what), theirs[name].get(what))
    return said


def _write_rows(
    part: Part, files: DataFiles, change: Change, features: Features, tasks: dict[str, int], rows: list[Row]
) -> None:
    """Write a part's episodes; adds to `tasks`, and to `rows` what the episode table says of them."""
    index = part.index
    for episode, table in _tables(part):
        first, end = index.episode_bounds[episode].tolist()
        length, frame = end - first, np.arange(end - first)
        begin = rows[-1]["dataset_to_index"] if rows else 0
        texts = [change.task(episode, index.tasks[i]) for i in table.column("task_index").to_pylist()]
        own = list(dict.fromkeys(texts))
        for task in own:
            tasks.setdefault(task, len(tasks))
        renewed = {
            "frame_index": frame,
            "episode_index": np.full(length, len(rows)),
            "index": begin + frame,
            "timestamp": frame / index.fps,
            "task_index": np.array([tasks[text] for text in texts]),
        }
        table = change.rows(table, features, slice(first, end))
        kinds = {name: pa.type_for_alias(features[name]["dtype"]) for name in renewed}
        table = replaced(table, {n: to_arrow(values, kinds[n]) for n, values in renewed.items()})
        place = files.add(_ordered(table, features, index).combine_chunks())
        row: Row = {"episode_index": len(rows), "tasks": own, "length": length}
        row |= {"dataset_from_index": begin, "dataset_to_index": begin + length}
        rows.append(row | {f"data/{key}": value for key, value in place.items()})


def _tables(part: Part) -> Iterator[tuple[int, pa.Table]]:
    """Each episode's position and rows, in order; a data file is checked and read once on the way."""
    index = part.index
    path, table, rows = "", pa.table({}), {}
    for episode in part.episodes.tolist():
        record = index.episodes[episode]
        if record.data_path != path:
            path = record.data_path
            checked = read_part(index, np.array([index.episodes.data.of[episode]]))
            table, rows = read_table(index.root / path), checked.found.files[path].rows
        yield episode, table.take(pa.array(rows[record.index]))


def _ordered(table: pa.Table, features: Features, index: Index) -> pa.Table:
    """The columns of the features, in their order. What other writers tell beside them would be stale."""
    names = [name for name, feature in features.items() if feature["dtype"] != "video"]
    if lacking := [name for name in names if name not in table.column_names]:
        raise KinemaError(f"{index.root}: the data files lack the columns {lacking}")
    return table.select(names).replace_schema_metadata(None)


def _write_videos(
    parts: Sequence[Part], root: Path, key: str, new: str, feature: dict[str, Any], rows: list[Row],
    change: Change,
) -> None:  # fmt: skip
    number, at = 0, 0
    for part in parts:
        for episodes in groups(part.index, key, part.episodes):
            place = v30.chunk_and_file(number)
            path = root / v30.VIDEO_PATH.format(video_key=new, **place)
            starts_s = write_video(part.index, key, episodes, path, change.encoding)
            if change.encoding is not None and not number:
                feature["info"] = video_info(path, change.encoding)
                feature["shape"], feature["names"] = _shape(feature["info"]), ["height", "width", "channels"]
            for start_s, row in zip(starts_s.tolist(), rows[at : at + len(episodes)]):
                clip = {
                    **place,
                    "from_timestamp": start_s,
                    "to_timestamp": start_s + row["length"] / part.index.fps,
                }
                row |= {f"videos/{new}/{name}": value for name, value in clip.items()}
            number, at = number + 1, at + len(episodes)


def _shape(info: Mapping[str, Any]) -> list[int]:
    return [info["video.height"], info["video.width"], info["video.channels"]]


def _write_tables(
    parts: Sequence[Part], root: Path, rows: list[Row], change: Change, features: Features, tasks: list[str]
) -> None:
    for number, row in enumerate(rows):
        place = v30.chunk_and_file(number // _EPISODES_PER_METADATA_FILE)
        row |= {f"meta/episodes/{key}": value for key, value in place.items()}
    table = v30.rows_as_table(rows)
    told = _told_of_episodes(parts, change)
    for name in told.column_names:
        if name not in table.column_names:
            table = table.append_column(name, told.column(name))
    for start in range(0, len(rows), _EPISODES_PER_METADATA_FILE):
        place = v30.chunk_and_file(start // _EPISODES_PER_METADATA_FILE)
        path = root / v30.EPISODES_PATH.format(**place)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(table.slice(start, _EPISODES_PER_METADATA_FILE), path)
    v30.write_tasks(root / v30.TASKS, tasks)
    first = parts[0].index
    info = {key: value for key, value in first.found.info.items() if key not in _OF_OLD_VERSIONS} | {
        "codebase_version": v30.VERSION,
        "fps": whole(first.fps),
        "total_episodes": len(rows),
        "total_frames": sum(row["length"] for row in rows),
        "total_tasks": len(tasks),
        "chunks_size": v30.FILES_PER_CHUNK,
        "data_files_size_in_mb": v30.DATA_FILE_MB,
        "video_files_size_in_mb": v30.VIDEO_FILE_MB,
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": v30.DATA_PATH,
        "video_path": v30.VIDEO_PATH,
        "features": features,
    }
    (root / INFO).write_text(json.dumps(info, indent=4))


def _told_of_episodes(parts: Sequence[Part], change: Change) -> pa.Table:
    """What other writers said of these episodes: quality, statistics of what is not measured here, …"""
    tables = []
    for part in parts:
        if not part.index.found.is_v30:
            return pa.table({})
        table = v30.read_episode_table(part.index.root)
        at = {number: row for row, number in enumerate(table["episode_index"].to_pylist())}
        numbers = part.index.episodes.number[part.episodes].tolist()
        tables.append(table.take(pa.array([at[number] for number in numbers])))
    joined = v30.joined(tables)
    kept = {}
    for name in joined.column_names:
        if name.startswith(("data/", "videos/", "meta/")):
            continue
        if name.startswith("stats/"):
            _, feature, statistic = name.split("/", 2)
            new = change.name(feature)
            if new is None or not _is_kept_as_told(parts, feature):
                continue
            kept[f"stats/{new}/{statistic}"] = joined.column(name)
        else:
            kept[name] = joined.column(name)
    return pa.table(kept)


def _is_kept_as_told(parts: Sequence[Part], feature: str) -> bool:
    """Whether a feature's statistics are not measured here (distances, texts)."""
    described = parts[0].index.found.info["features"].get(feature)
    return described is not None and described["dtype"] in PICTURES and is_depth(described)


def _keep_beside(parts: Sequence[Part], root: Path) -> None:
    """Captions follow their episodes; what the user says of the set stays where all sets say the same."""
    told, number = {}, 0
    for part in parts:
        own = captions.read_captions(part.index.root)
        for episode in part.index.episodes.number[part.episodes].tolist():
            if episode in own:
                told[number] = own[episode]
            number += 1
    if told:
        (root / captions.FILE).write_text(captions.as_lines(told))
    said = {path.read_text() if (path := part.index.root / MAP_FILE).is_file() else "" for part in parts}
    if len(said) > 1:
        raise KinemaError(
            f"the sets say different things of themselves in {MAP_FILE}; make these the same first"
        )
    if text := said.pop():
        (root / MAP_FILE).write_text(text)


def _same_rate(path: Path, fps: float) -> bool:
    return abs(probe(path).fps - fps) <= 0.01 * fps
