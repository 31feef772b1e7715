"""A set is opened by its metadata, whatever its size, and its numbers are read where they are asked for."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from large_set import EPISODE, make_large

from kinema.card.load import load_card
from kinema.data import disk_array, numbers
from kinema.data.index import Index
from kinema.data.lerobot import Dataset
from kinema.data.metadata import ACTION, POINTS, STATE, EpisodeRecord
from kinema.data.numbers import Numbers, read_part, sample_files
from kinema.data.source import EvenStarts, from_dataset
from kinema.schema import KinemaError

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("lerobot_v*"))


@pytest.fixture
def root(tmp_path, recorded_once):
    return shutil.copytree(recorded_once, tmp_path / "set")


@pytest.mark.parametrize(("version", "episodes"), [("v3.0", 100_000), ("v2.1", 5_000)])
def test_opening_costs_a_few_numbers_an_episode_and_reads_no_file(tmp_path, monkeypatch, version, episodes):
    root = make_large(tmp_path / "set", episodes, version=version)
    made, make = [], EpisodeRecord.__init__
    monkeypatch.setattr(EpisodeRecord, "__init__", lambda *a, **k: (made.append(1), make(*a, **k))[1])
    tracemalloc.start()
    index = Index.open(root)  # every data and video file is empty: to read one would fail
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (index.num_episodes, index.num_frames) == (episodes, episodes * EPISODE)
    assert not made
    assert kept / episodes < (300 if version == "v3.0" else 2_000)  # bytes; paths are v2.1's
    last = index.episodes[-1]
    assert (last.index, last.first_row, last.tasks) == (episodes - 1, (episodes - 1) * EPISODE, ("push it",))
    assert index.episode_of(np.array([0, EPISODE - 1, EPISODE, index.num_frames - 1])).tolist() == [
        0, 0, 1, episodes - 1,
    ]  # fmt: skip


def test_what_the_metadata_shows_is_refused_at_once_and_the_rest_when_it_is_read(tmp_path):
    root = make_large(tmp_path / "set", 1_200)
    video = sorted(root.glob("videos/*/*/*.mp4"))[-1]
    video.unlink()
    with pytest.raises(KinemaError, match=r"file-002.mp4 is missing"):
        Index.open(root)
    video.touch()
    index = Index.open(root)
    with pytest.raises(KinemaError, match=r"file-001.parquet is not a readable parquet file"):
        Numbers(index, [ACTION], tmp_path / "cache")[ACTION][np.array([500 * EPISODE])]
    with pytest.raises(KinemaError, match=r"mp4 is not a readable video"):
        index.frames("front", [0])
    table = next(root.glob("meta/episodes/*/*.parquet"))
    rows = pq.read_table(table)
    at = rows.schema.get_field_index("videos/observation.images.front/from_timestamp")
    values = rows.column(at).to_numpy().copy()
    values[7] += 3
    pq.write_table(rows.set_column(at, rows.schema.field(at), [values]), table)
    with pytest.raises(KinemaError, match=r"wrong clip: .*episode 7"):
        Index.open(root)


@pytest.mark.parametrize("fixture", [None, *FIXTURES], ids=lambda path: path.name if path else "recorded")
def test_an_index_reads_what_the_whole_set_reads(fixture, root, tmp_path):
    root = fixture or root
    whole, index = Dataset.open(root), Index.open(root)
    lazy = Numbers(index, [STATE, ACTION], tmp_path / "cache")
    order = np.random.default_rng(0).integers(0, whole.num_frames, (7, 3))
    np.testing.assert_array_equal(lazy[ACTION][order], whole.column(ACTION)[order])
    np.testing.assert_array_equal(lazy[STATE][order[0]], whole.column(STATE)[order[0]])
    np.testing.assert_array_equal(lazy["task_index"][order][..., 0], whole.task_index[order])
    np.testing.assert_array_equal(index.episode_of(order.ravel()), whole.episode_index[order.ravel()])
    for camera in index.camera_names:
        np.testing.assert_array_equal(index.frames(camera, order[0]), whole.frames(camera, order[0]))


def test_several_columns_are_one_and_one_that_is_not_there_is_named(root, tmp_path):
    index = Index.open(root, columns={"action": ["observation.state", "action.executed"]})
    whole = Dataset.open(root)
    lazy = Numbers(index, [ACTION], tmp_path / "cache")
    both = np.concatenate([whole.state, whole.executed], 1)
    np.testing.assert_array_equal(lazy[ACTION][np.arange(25)], both)
    with pytest.raises(KinemaError, match=r"no column 'acton'; did you mean 'action'"):
        Numbers(index, ["acton"], tmp_path / "cache")


def _spread(root: Path) -> Path:
    """The set with one data file for each episode."""
    (path,) = root.glob("data/*/*.parquet")
    rows = pq.read_table(path)
    (table_path,) = root.glob("meta/episodes/*/*.parquet")
    table = pq.read_table(table_path)
    for number in range(len(table)):
        first, end = (table[f"dataset_{edge}_index"][number].as_py() for edge in ("from", "to"))
        pq.write_table(rows.slice(first, end - first), path.with_name(f"file-{number:03d}.parquet"))
    at = table.schema.get_field_index("data/file_index")
    pq.write_table(table.set_column(at, table.schema.field(at), [list(range(len(table)))]), table_path)
    return root


def test_only_data_files_that_are_asked_for_are_read_and_each_once(root, tmp_path, monkeypatch):
    index = Index.open(_spread(root))
    read, of = [], numbers.read_data_file
    monkeypatch.setattr(numbers, "read_data_file", lambda path, f: (read.append(path.name), of(path, f))[1])
    lazy = Numbers(index, [ACTION], tmp_path / "cache")
    (begin, end) = index.episode_bounds[2]
    lazy[ACTION][np.array([begin, end - 1])]
    lazy[ACTION][np.array([begin])]
    Numbers(index, [ACTION], tmp_path / "cache")[ACTION][np.array([begin])]  # another process, later
    assert read == ["file-002.parquet"]
    whole = Dataset.open(root).action
    np.testing.assert_array_equal(lazy[ACTION][np.arange(25)], whole)
    assert sorted(read) == [f"file-{i:03d}.parquet" for i in range(4)]


def test_a_data_file_that_changes_is_read_anew(root, tmp_path):
    steps = np.arange(25)
    before = Numbers(Index.open(root), [ACTION], tmp_path / "cache")[ACTION][steps]
    (path,) = root.glob("data/*/*.parquet")
    rows = pq.read_table(path)
    at = rows.schema.get_field_index("action")
    rows = rows.set_column(at, rows.schema.field(at), rows.column("action.executed"))
    pq.write_table(rows, path)
    after = Numbers(Index.open(root), [ACTION], tmp_path / "cache")[ACTION][steps]
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, Dataset.open(root).action)


def test_a_fault_in_one_data_file_is_named_when_it_is_read(root, tmp_path):
    _spread(root)
    path = root / "data/chunk-000/file-001.parquet"
    rows = pq.read_table(path)
    at = rows.schema.get_field_index("action")
    values = rows.column(at).to_pylist()
    values[2][3] = float("nan")
    pq.write_table(rows.set_column(at, rows.schema.field(at), [pa.array(values, rows.field(at).type)]), path)
    index = Index.open(root)
    lazy = Numbers(index, [ACTION], tmp_path / "cache")
    lazy[ACTION][np.array([0])]
    with pytest.raises(KinemaError, match=r"non-finite values: data/chunk-000/file-001.parquet, episode 1"):
        lazy[ACTION][np.array([index.episode_bounds[1, 0]])]
    with pytest.raises(KinemaError, match=r"non-finite values"):
        from_dataset(index, load_card("panda"), image_size=16)


def test_numbers_that_do_not_fit_the_disk_are_refused(root, tmp_path, monkeypatch):
    class Full:
        free = 10

    monkeypatch.setattr(disk_array.shutil, "disk_usage", lambda _: Full)
    with pytest.raises(KinemaError, match=r"the numbers of .* GB\) does not fit .*KINEMA_CACHE"):
        Numbers(Index.open(root), [ACTION], tmp_path / "cache")


def test_a_sample_of_a_large_set_is_whole_data_files_and_of_a_small_one_everything(root):
    index = Index.open(_spread(root))
    assert sample_files(index, 25).tolist() == sample_files(index, 10**9).tolist() == [0, 1, 2, 3]
    few = sample_files(index, 8)
    assert 8 <= read_part(index, few).num_frames < 25
    part = read_part(index, np.array([1, 3]))
    whole = Dataset.open(root)
    rows = np.isin(whole.episode_index, [1, 3])
    np.testing.assert_array_equal(part.action, whole.action[rows])
    assert part.points.shape == whole.column(POINTS)[rows].reshape(-1, 2, 2, 3).shape


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("least", [1.0, 0.5, 2.5, 3.0])
def test_windows_by_number_are_those_found_step_by_step(stride, least):
    rng = np.random.default_rng(int(10 * least) + stride)
    ends = rng.integers(1, 12, 40).cumsum()
    bounds = np.stack([np.append(0, ends[:-1]), ends], 1)
    steps = np.arange(ends[-1])
    begin, end = bounds[np.searchsorted(ends, steps, side="right")].T
    listed = steps[((steps - begin) % stride == 0) & (steps + least - 1 <= end - 1 + 1e-6)]
    even = EvenStarts(bounds, stride, least)
    assert len(even) == len(listed)
    np.testing.assert_array_equal(even[np.arange(len(listed))], listed)
    asked = np.arange(-3, ends[-1])
    np.testing.assert_array_equal(
        even.searchsorted(asked, side="right"), listed.searchsorted(asked, side="right")
    )
    with pytest.raises(IndexError):
        even[np.array([len(listed)])]
