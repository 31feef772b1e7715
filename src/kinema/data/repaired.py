"""The state that a repair leads to: written aside as one change, looked at, and then committed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kinema.data import captions, checksums, set_aside
from kinema.data import schema_v30 as v30
from kinema.data.columns import read_table, read_what_is_left, replaced, to_arrow, write_table
from kinema.data.data_files import DataFiles
from kinema.data.fault import Fault, Kind
from kinema.data.info import place_of
from kinema.data.journal import Transaction
from kinema.data.lerobot import Dataset
from kinema.data.measure import stage_statistics
from kinema.data.metadata import INFO, STATS, EpisodeRecord
from kinema.data.scan import Scan
from kinema.data.verify_clips import pictures_of

_EPISODES_PER_METADATA_FILE = 4000
# Faults of these kinds do not mean that rows have to be written anew.
_ROWS_STAY = {Kind.STATISTICS, Kind.SURPLUS, Kind.ORPHAN, Kind.CLIP}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An episode that stays: its record with mended places, and its rows (n,) in its data file, in order."""

    record: EpisodeRecord
    rows: np.ndarray


class NewState:
    """New data files, episode table, tasks, captions, digests and info for the kept episodes.

    old: files of the present state that the new one does not have (or has anew)
    """

    def __init__(self, found: Scan, kept: list[Kept], faults: list[Fault], change: Transaction) -> None:
        self._found, self._kept, self._change = found, kept, change
        self._root = found.root
        self._videos = {clip.path for k in kept for clip in k.record.clips.values()}
        same = [k.record.index for k in kept] == [record.index for record in found.records]
        told = [f for f in faults if f.kind not in _ROWS_STAY and f.where not in (INFO, v30.TASKS)]
        self._rows_stay = same and not told
        self._data = {k.record.data_path for k in kept} if self._rows_stay else set()
        self.old: list[str] = []

    def stage(self) -> None:
        """Write everything but the statistics."""
        root, found, change = self._root, self._found, self._change
        places = self._stage_rows()
        self._stage_episodes(places)
        tasks = found.tasks
        if tasks is None:
            tasks = self._tasks_from_records()
            v30.write_tasks(change.path(v30.TASKS), tasks)
        if told := captions.read_captions(root):
            moved = {n: told[k.record.index] for n, k in enumerate(self._kept) if k.record.index in told}
            change.path(captions.FILE).write_text(captions.as_lines(moved))
        info = dict(found.info) | {
            "total_episodes": len(self._kept),
            "total_frames": sum(len(k.rows) for k in self._kept),
            "total_tasks": len(tasks),
            "splits": {"train": f"0:{len(self._kept)}"},
        }
        change.path(INFO).write_text(json.dumps(info, indent=4))
        unused = self._unused_pictures()
        if unused or (root / set_aside.FILE).is_file():
            change.path(set_aside.FILE).write_text(set_aside.as_text(unused))
        self.old = self._old_files()
        if (root / checksums.FOLDER).is_dir():
            self.old += checksums.stage_all(change, root, self._videos | self._data)

    def stage_statistics(self, dataset: Dataset) -> None:
        stage_statistics(dataset, self._change)

    @contextmanager
    def looked_at(self) -> Iterator[Path]:
        """A folder in which the new state can be read, made of links."""
        with tempfile.TemporaryDirectory(prefix="kinema-repair-") as folder:
            view = Path(folder)
            kept = [*self._videos, *self._data, v30.TASKS, STATS]
            linked = {path: self._root / path for path in kept if (self._root / path).is_file()}
            linked |= {path: self._change.path(path) for path in self._change.staged()}
            for path, target in linked.items():
                (view / path).parent.mkdir(parents=True, exist_ok=True)
                os.symlink(target.resolve(), view / path)
            yield view

    def episodes_of(self, faults: Iterable[Fault]) -> set[int]:
        """The old numbers of the episodes that these faults of the new state are in."""
        return {self._kept[f.episode].record.index for f in faults if f.episode is not None}

    # -- rows

    def _stage_rows(self) -> list[dict[str, int]]:
        """Write the mended rows, one row group per episode; returns the place of each episode's file."""
        if self._rows_stay:
            return []
        places: list[dict[str, int]] = []
        first_row = 0
        with DataFiles(lambda place: self._change.path(self._data_path(place))) as files:
            for number, episode in enumerate(self._kept):
                table = self._rows_of(episode, number, first_row)
                places.append(files.add(table))
                first_row += len(table)
        return places

    def _rows_of(self, episode: Kept, number: int, first_row: int) -> pa.Table:
        """All columns of an episode, of the types they have, with the numbering made right."""
        length = len(episode.rows)
        table = self._table(episode.record.data_path).take(pa.array(episode.rows))
        frame = np.arange(length)
        mended = {
            "frame_index": frame,
            "episode_index": np.full(length, number),
            "index": first_row + frame,
            "timestamp": frame / self._found.fps,
        }
        columns = {n: to_arrow(values, table.schema.field(n).type) for n, values in mended.items()}
        return replaced(table, columns).combine_chunks()

    def _table(self, path: str) -> pa.Table:
        if getattr(self, "_open", ("", None))[0] != path:
            damaged = self._found.files[path].lost
            read = read_what_is_left(self._root / path)[0] if damaged else read_table(self._root / path)
            self._open = (path, read)
        return self._open[1]

    def _data_path(self, place: Mapping[str, int]) -> str:
        return place_of(self._found.info["data_path"], place)

    # -- the tables

    def _stage_episodes(self, places: list[dict[str, int]]) -> None:
        old = self._old_table()
        rows = [self._row(number, places) for number in range(len(self._kept))]
        first = 0
        for row, kept in zip(rows, self._kept):
            row |= {"dataset_from_index": first, "dataset_to_index": first + len(kept.rows)}
            first += len(kept.rows)
        if old is None:
            table = v30.rows_as_table(rows)
        else:
            known = {number: at for at, number in enumerate(old["episode_index"].to_pylist())}
            table = old.take(pa.array([known.get(k.record.index) for k in self._kept], pa.int64()))
            names = [n for n in rows[0] if n in old.column_names or n not in ("tasks",)]
            table = replaced(table, {n: _as_typed([row[n] for row in rows], old.schema, n) for n in names})
        for number, start in enumerate(range(0, len(rows), _EPISODES_PER_METADATA_FILE)):
            path = v30.EPISODES_PATH.format(**v30.chunk_and_file(number))
            write_table(table.slice(start, _EPISODES_PER_METADATA_FILE), self._change.path(path))

    def _row(self, number: int, places: list[dict[str, int]]) -> dict[str, Any]:
        kept = self._kept[number]
        length, meta = len(kept.rows), v30.chunk_and_file(number // _EPISODES_PER_METADATA_FILE)
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": list(kept.record.tasks or ()),
            "length": length,
        }
        if places:
            row |= {f"data/{key}": value for key, value in places[number].items()}
        for key, clip in kept.record.clips.items():
            if place := self._found.numbers_of(key, clip.path):
                row |= {f"videos/{key}/chunk_index": place[0], f"videos/{key}/file_index": place[1]}
            row |= {
                f"videos/{key}/from_timestamp": clip.start_s,
                f"videos/{key}/to_timestamp": clip.start_s + length / self._found.fps,
            }
        return row | {f"meta/episodes/{key}": value for key, value in meta.items()}

    def _old_table(self) -> pa.Table | None:
        """The rows of meta/episodes that can be read, each episode once."""
        tables = []
        for path in v30.episode_files(self._root):
            if str(path.relative_to(self._root)) not in self._found.unusable:
                tables.append(read_table(path))
        if not tables:
            return None
        table = v30.joined(tables)
        numbers = table["episode_index"].to_numpy()
        _, first = np.unique(numbers, return_index=True)
        return table.take(pa.array(np.sort(first)))

    def _tasks_from_records(self) -> tuple[str, ...]:
        """The task table, found again from episodes of one task each."""
        named = {}
        for kept in self._kept:
            file = self._found.files[kept.record.data_path]
            assert kept.record.tasks is not None
            named[int(file.columns["task_index"][kept.rows[0], 0])] = kept.record.tasks[0]
        return tuple(named.get(i, f"(lost instruction {i})") for i in range(max(named) + 1))

    def _unused_pictures(self) -> dict[str, np.ndarray]:
        """bool (pictures,) by video file, of files with pictures that no kept episode shows."""
        streams = {path: self._found.videos[path] for path in self._videos}
        left = {path: np.ones(len(stream.times_s), bool) for path, stream in streams.items()}
        for kept in self._kept:
            for clip in kept.record.clips.values():
                shown, _ = pictures_of(streams[clip.path], clip, len(kept.rows), self._found.fps)
                left[clip.path][shown] = False
        return {path: unused for path, unused in left.items() if unused.any()}

    def _old_files(self) -> list[str]:
        found, root = self._found, self._root
        on_disk = {*found.files, *found.videos, *found.errors}
        old = [path for path in on_disk if path.startswith("data/") and path not in self._data]
        old += [path for path in on_disk if path.startswith("videos/") and path not in self._videos]
        old += [str(path.relative_to(root)) for path in v30.episode_files(root)]
        old += [captions.FILE] if (root / captions.FILE).is_file() else []
        old += [v30.TASKS] if found.tasks is None else []
        return sorted(path for path in old if (root / path).is_file())


def _as_typed(values: list[Any], schema: pa.Schema, name: str) -> pa.Array:
    """A column of the type that the old table has for it."""
    if name in schema.names:
        return pa.array(values, schema.field(name).type)
    return v30.rows_as_table([{name: value} for value in values]).column(0).combine_chunks()
