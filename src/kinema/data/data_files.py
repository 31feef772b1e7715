"""Data files of a v3.0 set, written one episode after the other: a full file is closed, the next begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from kinema.data import schema_v30 as v30
from kinema.data.columns import writer


class DataFiles:
    """One row group an episode, in files of up to 100 MB; a table of other columns begins another file."""

    def __init__(self, path_of: Callable[[Mapping[str, int]], Path]) -> None:
        """path_of: where a file is written, by its chunk and file number."""
        self._path_of = path_of
        self._number, self._path = -1, Path()
        self._out: pq.ParquetWriter | None = None

    def add(self, rows: pa.Table) -> dict[str, int]:
        """Write the rows of an episode. Returns chunk and file number of the file they are in."""
        full = self._out is not None and self._path.stat().st_size > v30.DATA_FILE_MB * 2**20
        if self._out is None or full or not self._out.schema.equals(rows.schema):
            self.close()
            self._number += 1
            self._path = self._path_of(v30.chunk_and_file(self._number))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._out = writer(self._path, rows.schema)
        self._out.write_table(rows, row_group_size=len(rows))
        return v30.chunk_and_file(self._number)

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    def __enter__(self) -> DataFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
