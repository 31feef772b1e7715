"""Columns of a data set by frame, kept out of memory: a data file is read once, when a frame of it is wanted.

What a data file holds is compared with what `verify` calls sound before any of it is used, and then lies in a
file of the cache, uncompressed, from which any process reads the rows it needs.

Axes: N frames, n frames asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from kinema.data.disk_array import DiskArray, stamp_of
from kinema.data.index import Index
from kinema.data.lerobot import Dataset
from kinema.data.metadata import width_of
from kinema.data.scan import Scan, read_data_file
from kinema.data.verify_rows import file_faults
from kinema.schema import KinemaError

_FORMAT = 1  # raise when what a row holds changes: old files are then made anew
TASK = "task_index"


class Numbers:
    """`numbers[name]` reads a column: `numbers["action"][steps]` is (*steps.shape, width)."""

    def __init__(self, index: Index, names: Sequence[str], folder: Path) -> None:
        """names: the columns that will be asked for. folder: where caches lie.

        Raises KinemaError for a column that the set does not have, and where there is no room.
        """
        self._index, self._of = index, {name: index.sources_of(name) for name in (*names, TASK)}
        features = index.found.info["features"]
        own = sorted({source for sources in self._of.values() for source in sources})
        self._row = np.dtype([(name, features[name]["dtype"], (width_of(features[name]),)) for name in own])
        files = index.episodes.data
        self._array = DiskArray(
            folder / f"numbers-{_key(index, self._row)}",
            rows=index.num_frames,
            row_bytes=self._row.itemsize,
            stamps=np.array([stamp_of(index.root / path) for path in files.paths()], np.uint64),
            what=f"the numbers of {index.root}",
        )

    def __getitem__(self, name: str) -> Column:
        return Column(self, name)

    def take(self, name: str, steps: np.ndarray) -> np.ndarray:
        """(*steps.shape, width) of a column, read now."""
        steps = np.asarray(steps, np.int64)
        flat = steps.reshape(-1)
        files = self._index.episodes.data.of[self._index.episode_of(flat)]
        for file in self._array.missing(np.unique(files)).tolist():
            self._array.fill(file, partial(self._read, file))
        rows = self._array.take(flat).view(self._row).reshape(-1)
        parts = [rows[source] for source in self._of[name]]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return values.reshape(*steps.shape, -1)

    def _read(self, file: int) -> Iterator[tuple[int, np.ndarray]]:
        """The rows of a data file, by stretches of the set's frames."""
        part = read_part(self._index, np.array([file]))
        rows = np.empty(part.num_frames, self._row)
        for name in self._row.names or ():
            rows[name] = part.column(name)
        episodes = self._index.episodes.data.episodes_in(file)
        for episode, (first, end) in zip(episodes.tolist(), part.episode_bounds.tolist()):
            yield int(self._index.episode_bounds[episode, 0]), rows[first:end]


class Column:
    """One column of many rows, of which those are read that are asked for."""

    def __init__(self, numbers: Numbers, name: str) -> None:
        self._numbers, self._name = numbers, name

    def __getitem__(self, steps: np.ndarray) -> np.ndarray:
        return self._numbers.take(self._name, steps)


def read_part(index: Index, files: np.ndarray) -> Dataset:
    """The episodes that lie in these data files (by their numbers), with their numbers in memory.

    Raises KinemaError at the first fault that forbids reading.
    """
    whole = index.found
    records = whole.records.chosen(index.episodes_in_data(files))
    part = Scan(root=whole.root, info=whole.info, records=records, tasks=whole.tasks)
    for path in part.records.data_files:
        part.files[path] = read_data_file(whole.root / path, whole.info["features"])
        for fault in file_faults(part, path, part.files[path]):
            if fault.forbids_reading:
                raise KinemaError(
                    f"{whole.root}: {fault}; `kinema data verify {whole.root}` names every fault"
                )
    return Dataset(part, index.columns)


def sample_files(index: Index, frames: int, seed: int = 0) -> np.ndarray:
    """Numbers, ascending, of all data files; where they hold more frames than these, of a random choice."""
    records = index.episodes
    held = np.bincount(records.data.of, weights=records.length, minlength=len(records.data))
    order = np.random.default_rng(seed).permutation(len(held))
    enough = np.searchsorted(held[order].cumsum(), frames) + 1
    return np.sort(order[:enough])


def _key(index: Index, row: np.dtype) -> str:
    """A name for what the rows are of: the episode table and the columns."""
    records = index.episodes
    digest = hashlib.blake2b(json.dumps([_FORMAT, str(row), index.fps]).encode(), digest_size=8)
    for values in (records.number, records.length, records.data.of, records.data.places):
        digest.update(np.ascontiguousarray(values).view(np.uint8).data)
    return digest.hexdigest()
