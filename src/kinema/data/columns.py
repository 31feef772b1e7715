"""Arrow columns as arrays, with the rows that cannot be what they should named one by one.

Axes: T rows, n numbers of a row (all axes of a feature on end, in C order).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kinema.data.remote import here
from kinema.schema import KinemaError


@dataclass(kw_only=True)
class Column:
    """values (T, n); rows that hold nothing, or not n numbers, are zero there and named in `bad`."""

    values: np.ndarray
    bad: dict[int, str] = field(default_factory=dict)


def read_table(
    path: Path, columns: Sequence[str] | Callable[[list[str]], Sequence[str]] | None = None
) -> pa.Table:
    """A parquet file's columns, or those chosen of its names; page checksums compared where it has them.

    Raises KinemaError when it is missing, truncated, damaged or lacks a column.
    """
    try:
        with pq.ParquetFile(here(path), page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            columns = columns(names) if callable(columns) else columns
            lacking = sorted(set(columns or ()) - set(names))
            if lacking:
                raise KinemaError(f"{path} lacks the columns {lacking}; it has {names}")
            table = file.read(columns=None if columns is None else list(columns))
            table.validate(full=True)  # texts that are none, lists that end before they begin
            return table
    except FileNotFoundError:
        raise KinemaError(f"{path} is missing") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise KinemaError(f"{path} is not a readable parquet file (truncated or damaged?): {error}") from None


def read_what_is_left(path: Path, columns: Sequence[str] | None = None) -> tuple[pa.Table, np.ndarray]:
    """A damaged file's columns, and bool (T,): rows of the row groups that cannot be read, null there.

    Raises KinemaError when the file does not even say what it holds.
    """
    parts, lost = [], []
    try:
        with pq.ParquetFile(here(path), page_checksum_verification=True) as file:
            names = [n for n in file.schema_arrow.names if columns is None or n in columns]
            schema = pa.schema([file.schema_arrow.field(name) for name in names])
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows
                try:
                    part = file.read_row_group(number, columns=names).select(names)
                    part.validate(full=True)
                except (pa.ArrowException, OSError, UnicodeDecodeError):
                    part = pa.table([pa.nulls(rows, field.type) for field in schema], schema=schema)
                    lost.append(np.ones(rows, bool))
                else:
                    lost.append(np.zeros(rows, bool))
                parts.append(part)
            return pa.concat_tables([schema.empty_table(), *parts]), np.concatenate(
                [np.zeros(0, bool), *lost]
            )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise KinemaError(f"{path} is not a readable parquet file (truncated or damaged?): {error}") from None


def write_table(table: pa.Table, path: Path, **options: Any) -> None:
    """A parquet file whose pages carry checksums."""
    pq.write_table(table, path, compression="snappy", write_page_checksum=True, **options)


def writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """The same, for a table that is written in parts."""
    return pq.ParquetWriter(path, schema, compression="snappy", write_page_checksum=True)


def numbers(column: pa.ChunkedArray, width: int) -> Column:
    """A numeric column. Raises TypeError when it is of another kind than numbers or lists of them."""
    leaf = leaf_type(column.type)
    if not (pa.types.is_integer(leaf) or pa.types.is_floating(leaf) or pa.types.is_boolean(leaf)):
        raise TypeError(f"holds {column.type}, not numbers")
    parts = [_fast(chunk, width) for chunk in column.chunks]
    if all(part is not None for part in parts):
        empty = np.zeros((0, width), leaf.to_pandas_dtype())
        return Column(values=np.concatenate([p for p in parts if p is not None] or [empty]))
    return _row_by_row(column.to_pylist(), width, np.dtype(leaf.to_pandas_dtype()))


def whole_numbers(table: pa.Table, name: str) -> np.ndarray:
    """A column of one integer a row, (T,). Raises TypeError when it is not."""
    column = table.column(name)
    if not pa.types.is_integer(leaf_type(column.type)):
        raise TypeError(f"{name} holds {column.type}, not whole numbers")
    found = numbers(column, 1)
    for row, detail in found.bad.items():
        raise TypeError(f"{name} {detail} in row {row}")
    return found.values[:, 0].astype(np.int64)


def leaf_type(kind: pa.DataType) -> pa.DataType:
    """The type of the numbers in lists of any depth."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif _is_list(kind):
            kind = kind.value_type
        else:
            return kind


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _fast(array: pa.Array, width: int) -> np.ndarray | None:
    """All rows at once; None when one of them is not `width` numbers."""
    rows = len(array)
    while True:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if array.null_count:
            return None
        if not _is_list(array.type):
            break
        if not pa.types.is_fixed_size_list(array.type):
            lengths = np.diff(array.offsets.to_numpy(zero_copy_only=False))
            if len(lengths) and (lengths != lengths[0]).any():
                return None
        array = array.flatten()
    if len(array) != rows * width:
        return None
    return np.asarray(array.to_numpy(zero_copy_only=False)).reshape(rows, width)


def _row_by_row(rows: list[Any], width: int, dtype: np.dtype) -> Column:
    found = Column(values=np.zeros((len(rows), width), dtype))
    for i, row in enumerate(rows):
        flat = _flat(row)
        if row is None or None in flat:
            found.bad[i] = "is null" if row is None else "holds a null"
        elif len(flat) != width:
            found.bad[i] = f"holds {len(flat)} numbers, info.json says {width}"
        else:
            found.values[i] = flat
    return found


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [number for part in value for number in _flat(part)]
    return [value]


def to_arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """(T,) numbers as an array of this type, or of lists of one number of it."""
    flat = pa.array(np.ascontiguousarray(values)).cast(leaf_type(kind))
    if not _is_list(kind):
        return flat
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(flat, 1).cast(kind)
    return pa.ListArray.from_arrays(np.arange(len(flat) + 1, dtype=np.int32), flat).cast(kind)


def replaced(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """The table with some columns replaced, each in its place and with its field; new ones at the end."""
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        if at < 0:
            table = table.append_column(name, values)
        else:
            table = table.set_column(at, table.schema.field(at).with_type(values.type), values)
    return table
