"""Single changes to a data set on disk, as a foreign writer or a fault would make them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kinema.data.fault import Kind
from kinema.data.verify import verify


def edit_info(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def edit_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def edit_rows(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Rows as dictionaries, changed in place; the types stay."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def edit_column(path: Path, name: str, change: Callable[[list[Any]], list[Any]], kind: Any = None) -> None:
    table = pq.read_table(path)
    at = table.schema.get_field_index(name)
    column = pa.array(change(table[name].to_pylist()), kind or table.schema.field(at).type)
    pq.write_table(table.set_column(at, name, column), path)


def data_file(root: Path, number: int = 0) -> Path:
    return sorted(root.glob("data/*/*.parquet"))[number]


def episodes_file(root: Path) -> Path:
    return next(root.glob("meta/episodes/*/*.parquet"))


def kinds(root: Path, **options: Any) -> set[Kind]:
    return {fault.kind for fault in verify(root, **options)}
