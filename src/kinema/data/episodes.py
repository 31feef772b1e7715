"""The episode table, column by column: what opening a data set costs is a few numbers an episode.

Axes: E episodes, F files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinema.data.info import place_of
from kinema.data.metadata import Clip, EpisodeRecord

_Names = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Files:
    """Which file each episode lies in.

    places: int64 (F, 2), chunk and file number of each; of: int64 (E,), the file of each episode
    names: what the template calls chunk and file
    """

    template: str
    names: _Names
    places: np.ndarray
    of: np.ndarray
    camera: str = ""

    @classmethod
    def from_columns(
        cls, template: str, names: _Names, chunk: np.ndarray, file: np.ndarray,
        camera: str = "",
    ) -> Files:  # fmt: skip
        """From chunk and file number (E,) of each episode; files are numbered as they are first named.

        template: one that `check_template` lets pass
        """
        runs = np.flatnonzero((np.diff(chunk, prepend=-1) != 0) | (np.diff(file, prepend=-1) != 0))
        number: dict[tuple[int, int], int] = {}
        of_run = [
            number.setdefault(place, len(number)) for place in zip(chunk[runs].tolist(), file[runs].tolist())
        ]
        lengths = np.diff(np.append(runs, len(chunk)))
        places = np.array(list(number), np.int64).reshape(-1, 2)
        of = np.repeat(np.array(of_run, np.int64), lengths)
        template = str(PurePosixPath(template))  # as listings of folders have it
        return cls(template=template, names=names, places=places, of=of, camera=camera)

    def __len__(self) -> int:
        return len(self.places)

    def path(self, file: int) -> str:
        """Relative to the data set's folder, which no place leads out of (`check_template`)."""
        return self._path(*self.places[file].tolist())

    def paths(self) -> Iterator[str]:
        return (self._path(chunk, number) for chunk, number in self.places.tolist())

    def _path(self, chunk: int, number: int) -> str:
        place = dict.fromkeys(self.names[0], chunk) | dict.fromkeys(self.names[1], number)
        return self.template.format(**place, video_key=self.camera)

    def episodes_in(self, file: int) -> np.ndarray:
        """Positions (k,) of the episodes in a file, ascending."""
        first, end = np.searchsorted(self._sorted, [file, file + 1])
        return self._order[first:end]

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.of, kind="stable")

    @cached_property
    def _sorted(self) -> np.ndarray:
        return self.of[self._order]

    def chosen(self, rows: np.ndarray) -> Files:
        """The files of these episodes (k,) alone."""
        used, of = np.unique(self.of[rows], return_inverse=True)
        return replace(self, places=self.places[used], of=of)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clips:
    """Where the episodes lie in one camera's videos: file, and seconds (E,) of beginning and end."""

    files: Files
    start_s: np.ndarray
    end_s: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Episodes(Sequence[EpisodeRecord]):
    """All rows of the episode table; a record is made when one is asked for.

    number, length, first_row: int64 (E,). tasks: lists of texts (E,), null where the table does not say.
    """

    number: np.ndarray
    length: np.ndarray
    first_row: np.ndarray
    data: Files
    clips: Mapping[str, Clips]  # by feature
    tasks: pa.Array = field(repr=False)

    def __len__(self) -> int:
        return len(self.number)

    @overload
    def __getitem__(self, row: int) -> EpisodeRecord: ...
    @overload
    def __getitem__(self, row: slice) -> list[EpisodeRecord]: ...
    def __getitem__(self, row: int | slice) -> EpisodeRecord | list[EpisodeRecord]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} episodes")
        tasks = self.tasks[row].as_py()
        return EpisodeRecord(
            index=int(self.number[row]),
            length=int(self.length[row]),
            tasks=None if tasks is None else tuple(tasks),
            data_path=self.data.path(int(self.data.of[row])),
            first_row=int(self.first_row[row]),
            clips={
                key: Clip(
                    path=clips.files.path(int(clips.files.of[row])),
                    start_s=float(clips.start_s[row]),
                    end_s=float(clips.end_s[row]),
                )
                for key, clips in self.clips.items()
            },
        )

    @cached_property
    def data_files(self) -> Mapping[str, int]:
        """The number of each data file that is named, by its path."""
        return {path: number for number, path in enumerate(self.data.paths())}

    @property
    def tell_tasks(self) -> bool:
        """Whether every row names a task."""
        return bool(pc.all(pc.fill_null(pc.greater(pc.list_value_length(self.tasks), 0), False)).as_py())

    def in_data_file(self, path: str) -> list[EpisodeRecord]:
        number = self.data_files.get(path)
        return [] if number is None else [self[int(row)] for row in self.data.episodes_in(number)]

    def chosen(self, rows: np.ndarray) -> Episodes:
        """These rows (k,), in this order."""
        return Episodes(
            number=self.number[rows],
            length=self.length[rows],
            first_row=self.first_row[rows],
            data=self.data.chosen(rows),
            clips={
                key: Clips(files=c.files.chosen(rows), start_s=c.start_s[rows], end_s=c.end_s[rows])
                for key, c in self.clips.items()
            },
            tasks=self.tasks.take(pa.array(rows)),
        )


def check_template(template: str, names: _Names, camera: str = "") -> None:
    """Raise ValueError unless all paths of a template stay below the data set."""
    place: dict[str, int | str] = dict.fromkeys([*names[0], *names[1]], 0)
    place_of(template, {**place, "video_key": camera} if camera else place)


def no_tasks(rows: int) -> pa.Array:
    return pa.nulls(rows, pa.list_(pa.string()))


def rows_with_null(lists: pa.Array) -> np.ndarray:
    """Rows of a list column that are null or hold a null."""
    inner = lists.filter(lists.is_valid())
    whose = np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
    holds = pc.list_parent_indices(inner).filter(pc.list_flatten(inner).is_null())
    bad = np.unique(whose[holds.to_numpy()])
    return np.union1d(np.flatnonzero(lists.is_null().to_numpy(zero_copy_only=False)), bad)
