"""Reading a LeRobot data set (v3.0, v2.1, v2.0): numbers in memory, pictures decoded on demand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from kinema.data.columns import read_table
from kinema.data.fault import Kind
from kinema.data.index import Columns, Index
from kinema.data.info import read_json
from kinema.data.journal import read_quietly
from kinema.data.metadata import ACTION, EXECUTED, POINTS, STATE, STATS, SUCCESS, vector_keys, width_of
from kinema.data.scan import Scan, gathered, scan
from kinema.data.verify import first_fault
from kinema.schema import KinemaError


class Dataset(Index):
    """An index with its numbers, N frames in E episodes in the order of its `index` column.

    Axes: S state channels, D action channels, V cameras, P points per camera.
    """

    def __init__(self, found: Scan, columns: Columns | None = None) -> None:
        """`found` is a scan without a fault that forbids reading (see `open`)."""
        super().__init__(found, columns)
        self._columns = gathered(found, _kept(found))
        self.episode_index = self._columns["episode_index"][:, 0]  # int64 (N,)
        self.frame_index = self._columns["frame_index"][:, 0]  # int64 (N,)
        self.task_index = self._columns["task_index"][:, 0]  # int64 (N,)

    @classmethod
    def open(cls, root: Path | str, *, columns: Columns | None = None, finite: bool = True) -> Self:
        """Read the data set at `root`. Raises KinemaError naming the file and the fault.

        columns: see `Index.open`
        finite: False to read values that are not, which nothing can be trained on

        What opens has only faults that harm no reading (`fault.HARMLESS`); `verify` names these too, and
        looks at the pictures, which this does not.
        """
        root = Path(root)

        def read() -> Any:
            found = scan(root)
            fault = first_fault(found, but=() if finite else (Kind.NON_FINITE,))
            if fault is not None:
                raise KinemaError(f"{root}: {fault}; `kinema data verify {root}` names every fault")
            return cls(found, columns)

        return read_quietly(root, read)

    @cached_property
    def state(self) -> np.ndarray:  # float32 (N, S)
        if STATE not in self._map and STATE not in self._columns:
            return np.zeros((self.num_frames, 0), np.float32)
        return _float32(self.column(STATE))

    @cached_property
    def action(self) -> np.ndarray:  # float32 (N, D)
        return _float32(self.column(ACTION))

    @property
    def has_action(self) -> bool:
        return ACTION in self._names()

    @cached_property
    def executed(self) -> np.ndarray | None:  # float32 (N, D)
        return _float32(self.column(EXECUTED)) if EXECUTED in self._names() else None

    @cached_property
    def success(self) -> np.ndarray | None:  # bool (N,)
        return self.column(SUCCESS)[:, 0].astype(bool) if SUCCESS in self._names() else None

    @cached_property
    def points(self) -> np.ndarray | None:  # float32 (N, V, P, 3)
        if POINTS not in self._names():
            return None
        values, views = _float32(self.column(POINTS)), len(self.camera_names)
        if not views or values.shape[1] % (3 * views):
            raise KinemaError(f"{self.root}: {POINTS} has {values.shape[1]} values for {views} cameras")
        return values.reshape(self.num_frames, views, -1, 3)

    @cached_property
    def statistics(self) -> Mapping[str, Any]:
        """meta/stats.json: min, max, mean, std, count and quantiles by feature.

        Raises KinemaError when there is none (v2.1 has none) or it is damaged.
        """
        path = self.root / STATS
        if not path.is_file():
            raise KinemaError(f"{path} is missing; `kinema data stats {self.root} --write` measures it")
        return read_json(path)

    def column(self, name: str) -> np.ndarray:
        """Any numeric column as (N, n), all axes on end. Raises KinemaError naming the choices."""
        parts = [self._own_column(source) for source in self.sources_of(name)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _own_column(self, name: str) -> np.ndarray:
        if name in self._columns:
            return self._columns[name]
        by_file = {path: self._found.column(path, name) for path in self._found.files}
        parts = [by_file[r.data_path][self._found.files[r.data_path].rows[r.index]] for r in self.episodes]
        width = width_of(self._found.info["features"][name])
        return np.concatenate(parts) if parts else np.zeros((0, width))

    def texts(self, name: str) -> list[str]:
        """A column of texts, one for each frame. Raises KinemaError naming the choices."""
        features = self._found.info["features"]
        there = [key for key, feature in features.items() if feature["dtype"] == "string"]
        if name not in there:
            raise KinemaError(f"{self.root} has no texts {name!r}; it has {there}")
        texts: list[str] = []
        for record in self.episodes:
            table = read_table(self.root / record.data_path, [name])
            rows = self._found.files[record.data_path].rows[record.index]
            texts += [str(text) for text in table.column(name).take(rows).to_pylist()]
        return texts

    def window(
        self, i: int | np.ndarray, horizon: int, *, hz: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Frames of the chunk of `horizon` steps that begins at frame i, cut by time inside the episode.

        i: int or int (n,). hz: rate of the steps, the data set's own if None; step k is the frame nearest
        to k / hz after frame i. Returns indices int64 (horizon,) or (n, horizon) and a bool mask of the same
        shape: past the end of the episode the last frame is held and the mask is False.
        """
        start = np.asarray(i, np.int64)[..., None]
        if start.size and (start.min() < 0 or start.max() >= self.num_frames):
            raise IndexError(f"frame {i} is outside 0 … {self.num_frames - 1}")
        steps = np.floor(np.arange(horizon) * (self.fps / (hz or self.fps)) + 0.5).astype(np.int64)
        wanted = start + steps
        last = self.episode_bounds[self.episode_index[start], 1] - 1
        return np.minimum(wanted, last), wanted <= last


def _kept(found: Scan) -> list[str]:
    """The columns that are kept in memory: every vector that can be read."""
    wrong = {name for file in found.files.values() for name in file.wrong}
    return [name for name in vector_keys(found.info["features"]) if name not in wrong]


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
