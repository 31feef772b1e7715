"""What is recorded comes back; windows and faults follow the contract."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.load import load_card
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import Writer
from kinema.schema import KinemaError


def _joined(episodes, key):
    return np.concatenate([np.asarray(e[key]) for e in episodes])


@pytest.mark.parametrize("which", ["recorded_once", "unfinished_once"])
def test_numbers_and_pictures_come_back(which, request, episodes):
    dataset = Dataset.open(request.getfixturevalue(which))
    assert dataset.card_name == "panda"
    assert dataset.fps == 10.0
    assert dataset.camera_names == ("front", "wrist")
    assert dataset.num_episodes == len(episodes)
    for name in ("state", "action", "executed", "points", "success"):
        np.testing.assert_array_equal(getattr(dataset, name), _joined(episodes, name))
    assert [dataset.tasks[i] for i in dataset.task_index[dataset.episode_bounds[:, 0]]] == [
        e["task"] for e in episodes
    ]
    np.testing.assert_array_equal(
        dataset.frame_index, np.concatenate([np.arange(len(e["state"])) for e in episodes])
    )
    for camera in dataset.camera_names:
        original = np.concatenate([e["images"][camera] for e in episodes])
        order = np.random.default_rng(0).permutation(dataset.num_frames)
        error = np.abs(dataset.frames(camera, order).astype(int) - original[order])
        assert error.mean() < 2.0  # lossy; a neighbouring frame is off by more than 5
        assert np.percentile(error, 99) < 12


def test_finalize_joins_files_and_leaves_the_content(tmp_path, unfinished_once, new_writer, episodes):
    def files(root, pattern):
        return len(list(root.glob(pattern)))

    # the same files, since an encoder with threads need not write the same bytes twice
    finished = shutil.copytree(unfinished_once, tmp_path / "set")
    with new_writer(finished, resume=True):
        pass
    assert files(unfinished_once, "data/*/*.parquet") == len(episodes)
    assert files(finished, "data/*/*.parquet") == 1
    assert files(finished, "videos/*/*/*.mp4") == 2
    assert files(finished, "meta/episodes/*/*.parquet") == 1
    data = pq.ParquetFile(next(finished.glob("data/*/*.parquet")))
    assert data.num_row_groups == len(episodes)  # one row group per episode
    assert data.metadata.row_group(0).column(0).compression == "SNAPPY"
    for a, b in zip(*(Dataset.open(r).frames("wrist", np.arange(20)) for r in (finished, unfinished_once))):
        np.testing.assert_array_equal(a, b)  # joined without re-encoding


def test_recording_can_go_on_after_finalize(tmp_path, recorded_once, new_writer, episodes):
    root = shutil.copytree(recorded_once, tmp_path / "set")
    with new_writer(root, resume=True) as writer:
        assert writer.num_episodes == len(episodes)
        writer.add_episode(**episodes[1])
    dataset = Dataset.open(root)
    assert dataset.num_episodes == len(episodes) + 1
    np.testing.assert_array_equal(dataset.state, _joined([*episodes, episodes[1]], "state"))
    first, end = dataset.episode_bounds[-1]
    error = np.abs(
        dataset.frames("front", np.arange(first, end)).astype(int) - episodes[1]["images"]["front"]
    )
    assert error.mean() < 2.0
    assert dataset.statistics["observation.state"]["count"] == [dataset.num_frames]


def test_resuming_another_body_or_size_is_refused(tmp_path, recorded_once, new_writer):
    root = shutil.copytree(recorded_once, tmp_path / "set")
    with pytest.raises(KinemaError, match="already holds a data set"):
        new_writer(root)
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"robot_type": "ur5e"}))
    with pytest.raises(KinemaError, match=r"robot_type.*'ur5e'.*'panda'"):
        new_writer(root, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "  "}, "instruction"),
        ({"state": np.full((7, 7), np.nan)}, "non-finite value in frame 0"),
        ({"state": np.zeros((7, 6))}, "6 channels, need 7"),
        ({"action": np.zeros((6, 7))}, "6 rows, but state has 7"),
        ({"points": None}, r"missing \['annotation.points'\]"),
        ({"images": {"front": np.zeros((7, 32, 32, 3), np.uint8)}}, "cameras"),
        (
            {"images": {c: np.zeros((7, 16, 16, 3), np.uint8) for c in ("front", "wrist")}},
            r"need uint8 \(7, 32, 32, 3\)",
        ),
    ],
)
def test_an_episode_that_does_not_fit_is_refused_and_loses_nothing(new_writer, episodes, change, message):
    writer = new_writer()
    writer.add_episode(**episodes[1])
    with pytest.raises(KinemaError, match=message):
        writer.add_episode(**(episodes[0] | change))
    writer.add_episode(**episodes[2])
    assert Dataset.open(writer.root).num_episodes == 2


def test_extra_features_are_recorded(new_writer, episodes):
    force = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    with new_writer(features={"observation.force": ("x", "y", "z")}) as writer:
        writer.add_episode(**episodes[0], extra={"observation.force": force})
        with pytest.raises(KinemaError, match=r"observation\.force"):
            writer.add_episode(**episodes[1])
    np.testing.assert_array_equal(Dataset.open(writer.root).column("observation.force"), force)


@given(
    start=st.integers(0, 24), horizon=st.integers(1, 30), slower=st.sampled_from([None, 10.0, 5.0, 2.0, 20.0])
)
def test_windows_stay_in_their_episode_and_hold_the_last_value(recorded_once, start, horizon, slower):
    dataset = _opened(recorded_once)
    indices, mask = dataset.window(start, horizon, hz=slower)
    first, end = dataset.episode_bounds[dataset.episode_index[start]]
    assert indices.shape == mask.shape == (horizon,)
    assert indices[0] == start
    assert mask[0]
    assert ((first <= indices) & (indices < end)).all()
    assert (np.diff(mask.astype(int)) <= 0).all()  # padding only at the end
    assert (indices[~mask] == end - 1).all()
    elapsed_s = (indices - start)[mask] / dataset.fps
    assert (
        np.abs(elapsed_s - np.arange(mask.sum()) / (slower or dataset.fps)).max() <= 0.5 / dataset.fps + 1e-9
    )


_OPEN: dict[Path, Dataset] = {}


def _opened(root):
    return _OPEN.setdefault(root, Dataset.open(root))


def test_windows_of_many_starts_equal_single_ones(recorded_once):
    dataset = _opened(recorded_once)
    starts = np.arange(dataset.num_frames)
    indices, mask = dataset.window(starts, 6)
    for i in starts:
        single = dataset.window(int(i), 6)
        np.testing.assert_array_equal(indices[i], single[0])
        np.testing.assert_array_equal(mask[i], single[1])
    with pytest.raises(IndexError):
        dataset.window(dataset.num_frames, 3)


def test_errors_name_the_thing_and_the_choices(tmp_path, recorded_once):
    dataset = _opened(recorded_once)
    with pytest.raises(KinemaError, match="did you mean 'wrist'"):
        dataset.frames("wirst", [0])
    with pytest.raises(KinemaError, match="did you mean 'action'"):
        dataset.column("actoin")
    with pytest.raises(KinemaError, match="not a folder"):
        Dataset.open(tmp_path / "nowhere")
    (tmp_path / "foreign").mkdir()
    with pytest.raises(KinemaError, match=r"info\.json is missing"):
        Dataset.open(tmp_path / "foreign")


def _edit_info(root, **change):
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | change))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: _edit_info(r, codebase_version="v4.7"), "unknown version 'v4.7'"),
        (lambda r: _edit_info(r, fps=0), "info.json: fps is 0"),
        (lambda r: _edit_info(r, total_episodes=9), "total_episodes is 9, meta/episodes holds 4"),
        (
            lambda r: (r / "meta/info.json").write_text('{"codebase_version": "v3'),
            "info.json is not valid JSON",
        ),
        (lambda r: (r / "meta/tasks.parquet").unlink(), "tasks.parquet is missing"),
        (lambda r: _cut(r, "data/*/*.parquet"), "not a readable parquet file"),
        (lambda r: _cut(r, "meta/episodes/*/*.parquet"), "not a readable parquet file"),
    ],
)
def test_a_damaged_data_set_is_refused_by_name(tmp_path, recorded_once, damage, message):
    root = shutil.copytree(recorded_once, tmp_path / "set")
    damage(root)
    with pytest.raises(KinemaError, match=message):
        Dataset.open(root)


def _cut(root, pattern):
    path = next(root.glob(pattern))
    path.write_bytes(path.read_bytes()[:-100])


def test_a_cut_video_is_refused_by_name(tmp_path, recorded_once):
    root = shutil.copytree(recorded_once, tmp_path / "set")
    _cut(root, "videos/*front/*/*.mp4")
    with pytest.raises(KinemaError, match=r"front.*file-000.mp4"):
        Dataset.open(root).frames("front", np.arange(24))


def test_pictures_may_be_of_the_cameras_own_sizes(tmp_path: Path) -> None:
    card = load_card("panda")
    sizes = {name: (24 + 8 * i, 48) for i, name in enumerate(card.camera_names)}
    with Writer(tmp_path, card=card, image_size=sizes) as writer:
        episode = {"state": np.zeros((4, 7)), "action": np.zeros((4, 7)), "task": "stand"}
        pictures = {name: np.full((4, *size, 3), 90, np.uint8) for name, size in sizes.items()}
        writer.add_episode(images=pictures, **episode)
        with pytest.raises(KinemaError, match=r"need uint8 \(4, 24, 48, 3\)"):
            writer.add_episode(images={n: p[:, :8] for n, p in pictures.items()}, **episode)
    with pytest.raises(KinemaError, match="size of"):
        Writer(tmp_path, card=card, image_size=24, resume=True)
    with Writer(tmp_path, card=card, image_size=sizes, resume=True) as writer:
        writer.add_episode(images=pictures, **episode)
    assert Dataset.open(tmp_path).num_episodes == 2
