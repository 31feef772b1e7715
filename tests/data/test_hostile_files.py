"""Whatever one change does to a data set: it is named or read rightly; nothing but KinemaError is raised."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from kinema.data import repair as mending
from kinema.data.lerobot import Dataset
from kinema.data.verify import examine, faults_of
from kinema.schema import KinemaError
from laws import examples

FIXTURES = Path(__file__).parent / "fixtures"
DELETED = object()
few = examples(12, suppress_health_check=[HealthCheck.function_scoped_fixture])

values = st.one_of(
    st.just(DELETED),
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["{", "{0}", "{nokey}", "../../{chunk_index}", "/abs/{chunk_index}", "\0", "v3.0"]),
    st.lists(st.integers(-3, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just([[1]]),
)


@pytest.fixture(scope="module", params=["ours", "lerobot_v30", "lerobot_v21"])
def pristine(request: pytest.FixtureRequest, recorded_once: Path) -> Path:
    return recorded_once if request.param == "ours" else FIXTURES / request.param


@pytest.fixture(scope="module")
def root(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(pristine, tmp_path_factory.mktemp("hostile") / "set")


@pytest.fixture(autouse=True)
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repairing looks at everything but the pictures, which nobody changes here."""
    monkeypatch.setattr(mending, "faults_of", lambda found, decode: faults_of(found, decode=False))


def _holds(root: Path) -> None:
    """Verifying names faults, opening raises KinemaError or reads; the two agree on which."""
    faults = examine(root, decode=False)
    with suppress(KinemaError):
        mending.repair(root, dry_run=True)
    if any(fault.forbids_reading for fault in faults):
        with suppress(KinemaError):  # a fault of the pictures alone is met later
            Dataset.open(root)
            assert not [f for f in faults if f.forbids_reading and f.where.startswith(("meta", "data"))]
        return
    dataset = Dataset.open(root)
    assert len(dataset.state) == dataset.num_frames == len(dataset.action)
    assert all(dataset.tasks[i] for i in dataset.task_index)


def _paths(value: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield (*before, key)
            yield from _paths(below, (*before, key))


def _changed(value: dict[str, Any], path: tuple[str, ...], new: Any) -> dict[str, Any]:
    changed = json.loads(json.dumps(value))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if new is DELETED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return changed


@few
@given(data=st.data())
def test_any_value_in_the_metadata(root: Path, pristine: Path, data: st.DataObject) -> None:
    files = [p for p in sorted(pristine.rglob("meta/**/*")) if p.suffix in (".json", ".jsonl")]
    source = data.draw(st.sampled_from([p for p in files if "checksums" not in p.parts]))
    target = root / source.relative_to(pristine)
    lines = source.read_text().splitlines() if source.suffix == ".jsonl" else [source.read_text()]
    at = data.draw(st.integers(0, len(lines) - 1))
    held = json.loads(lines[at])
    path = data.draw(st.sampled_from(list(_paths(held))))
    lines[at] = json.dumps(_changed(held, path, data.draw(values)))
    target.write_text("\n".join(lines))
    try:
        _holds(root)
    finally:
        shutil.copyfile(source, target)


def _column(old: pa.ChunkedArray, kind: str) -> Any:
    n = len(old)
    return {
        "null": lambda: pa.nulls(n, old.type),
        "one null": lambda: pa.array([None, *old.to_pylist()[1:]], old.type),
        "text": lambda: pa.array(["x"] * n),
        "negative": lambda: pa.array([-5] * n),
        "huge": lambda: pa.array([2**60] * n),
        "fraction": lambda: pa.array([1.5] * n),
        "nan": lambda: pa.array([float("nan")] * n),
        "same": lambda: pa.array([0] * n),
        "lists": lambda: pa.array([[1.0, 2.0]] * n),
        "ragged": lambda: pa.array([[1.0]] * (n - 1) + [[1.0, 2.0, 3.0]]),
        "struct": lambda: pa.array([{"a": 1}] * n),
        "bytes": lambda: pa.array([b"\xff"] * n),
    }[kind]()


COLUMNS = (
    "gone", "null", "one null", "text", "negative", "huge", "fraction", "nan", "same", "lists", "ragged",
    "struct", "bytes",
)  # fmt: skip


@few
@given(data=st.data())
def test_any_column_of_any_table(root: Path, pristine: Path, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(sorted(pristine.rglob("*.parquet"))))
    target, table = root / source.relative_to(pristine), pq.read_table(source)
    names = [name for name in table.column_names if not name.startswith("stats/")]
    name, kind = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(COLUMNS))
    at = table.column_names.index(name)
    if kind == "gone":
        table = table.drop_columns([name])
    else:
        table = table.set_column(at, name, _column(table[name], kind))
    pq.write_table(table, target)
    try:
        _holds(root)
    finally:
        shutil.copyfile(source, target)


@few
@given(data=st.data())
def test_any_damaged_byte_of_the_metadata(root: Path, pristine: Path, data: st.DataObject) -> None:
    files = [p for p in sorted(pristine.rglob("meta/**/*")) if p.is_file()]
    source = data.draw(st.sampled_from(files))
    content = bytearray(source.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        del content[at:]
    target = root / source.relative_to(pristine)
    target.write_bytes(content)
    try:
        _holds(root)
    finally:
        shutil.copyfile(source, target)


def test_no_flipped_bit_of_ours_passes_unseen(tmp_path: Path, recorded_once: Path) -> None:
    """Digests for data and videos; page checksums already where numbers are read."""
    root = shutil.copytree(recorded_once, tmp_path / "set")
    rng, truth = np.random.default_rng(0), Dataset.open(root)
    files = [p for folder in ("data", "videos") for p in sorted((root / folder).rglob("file-*.*"))]
    for trial in range(60):
        path = files[trial % len(files)]
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        sound = path.read_bytes()
        path.write_bytes(content)
        assert examine(root, decode=False), f"bit flip in {path.name} not seen"
        if path.suffix == ".parquet":
            try:
                read = Dataset.open(root)
            except KinemaError:
                pass
            else:  # it was in a byte that holds no number
                np.testing.assert_array_equal(read.state, truth.state)
                np.testing.assert_array_equal(read.action, truth.action)
        path.write_bytes(sound)
    assert examine(root, decode=False) == []
