"""Every fault is named, what can be mended is mended, and what cannot is said and set aside."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kinema.data import checksums
from kinema.data import schema_v30 as v30
from kinema.data.captions import CaptionFile, read_captions
from kinema.data.columns import numbers
from kinema.data.lerobot import Dataset
from kinema.data.metadata import width_of
from kinema.data.repair import repair
from kinema.data.verify import Kind, verify
from kinema.data.video import encode
from kinema.schema import Captions, KinemaError


@pytest.fixture
def joined(tmp_path, recorded_once) -> Path:
    """One file of each kind."""
    return shutil.copytree(recorded_once, tmp_path / "joined")


@pytest.fixture
def separate(tmp_path, unfinished_once) -> Path:
    """One file of each kind per episode."""
    return shutil.copytree(unfinished_once, tmp_path / "separate")


def _info(root, **change):
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | change))


def _column(root, name, edit, file=0):
    """Change one column of a data file, values as (T, n)."""
    path = root / v30.DATA_PATH.format(chunk_index=0, file_index=file)
    table = pq.read_table(path)
    info = json.loads((root / "meta/info.json").read_text())
    values = numbers(table[name], width_of(info["features"][name])).values.copy()
    edit(values)
    one = v30.data_table({name: values}, {name: info["features"][name]})
    pq.write_table(
        table.set_column(table.column_names.index(name), table.schema.field(name), one[name]), path
    )


def _rows(root, keep, file=0):
    path = root / v30.DATA_PATH.format(chunk_index=0, file_index=file)
    table = pq.read_table(path)
    pq.write_table(table.filter(pa.array(keep(table))), path)


def _video(root, camera="front", file=0):
    return root / f"videos/observation.images.{camera}/chunk-000/file-{file:03d}.mp4"


def _put(column, row, value):
    def edit(values):
        values[row] = value

    return column, edit


def _names(root, **options):
    return {fault.kind for fault in verify(root, **options)}


def test_a_sound_data_set_has_no_faults_and_repair_leaves_it_alone(joined, separate):
    for root in (joined, separate):
        before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
        assert verify(root) == []
        assert repair(root) == []
        assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


# Damage that loses nothing: named, then mended completely.
MENDABLE = {
    "total_frames": (lambda r: _info(r, total_frames=99), Kind.COUNTS),
    "total_tasks": (lambda r: _info(r, total_tasks=9), Kind.COUNTS),
    "frame_index": (lambda r: _column(r, *_put("frame_index", 3, 7)), Kind.INDEX_GAP),
    "index": (lambda r: _column(r, *_put("index", slice(9, None), 50)), Kind.INDEX_GAP),
    "jitter": (lambda r: _column(r, *_put("timestamp", 2, 0.27)), Kind.TIMESTAMPS),
    "no time": (lambda r: _column(r, *_put("timestamp", 2, np.nan)), Kind.TIMESTAMPS),
    "no statistics": (lambda r: (r / "meta/stats.json").unlink(), Kind.STATISTICS),
    "cut statistics": (lambda r: (r / "meta/stats.json").write_text("{"), Kind.STATISTICS),
    "no tasks": (lambda r: (r / "meta/tasks.parquet").unlink(), Kind.MISSING),
    "no episode table": (lambda r: shutil.rmtree(r / "meta/episodes"), Kind.MISSING),
    "running episode": (lambda r: (r / ".kinema/staging/data").mkdir(parents=True), Kind.INTERRUPTED),
    "stray video": (lambda r: shutil.copy(_video(r), _video(r, file=8)), Kind.ORPHAN),
}


@pytest.mark.parametrize("name", MENDABLE)
def test_what_can_be_mended_is_named_and_mended(joined, name, episodes):
    damage, kind = MENDABLE[name]
    damage(joined)
    assert kind in _names(joined)
    planned = repair(joined, dry_run=True)
    assert kind in _names(joined), "a dry run changes nothing"
    actions = repair(joined)
    assert [str(a) for a in planned] == [str(a) for a in actions]
    assert actions
    assert all(action.mended for action in actions), actions
    assert verify(joined) == []
    dataset = Dataset.open(joined)
    np.testing.assert_array_equal(dataset.state, np.concatenate([e["state"] for e in episodes]))
    assert [dataset.tasks[i] for i in dataset.task_index[dataset.episode_bounds[:, 0]]] == [
        e["task"] for e in episodes
    ]
    _assert_pictures(dataset, episodes, [0, 1, 2, 3])


# Damage that loses episode 1 of the data set with separate files.
LOST = {
    "non-finite state": (
        lambda r: _column(r, *_put("observation.state", 2, np.nan), file=1),
        Kind.NON_FINITE,
    ),
    "non-finite action": (lambda r: _column(r, *_put("action", 0, np.inf), file=1), Kind.NON_FINITE),
    "no data file": (
        lambda r: (r / v30.DATA_PATH.format(chunk_index=0, file_index=1)).unlink(),
        Kind.MISSING,
    ),
    "no video": (lambda r: _video(r, file=1).unlink(), Kind.MISSING),
    "cut video": (lambda r: _cut(_video(r, "wrist", 1)), Kind.UNREADABLE),
    "cut data": (lambda r: _cut(r / v30.DATA_PATH.format(chunk_index=0, file_index=1)), Kind.UNREADABLE),
    "short video": (
        lambda r: encode(_video(r, file=1), np.zeros((3, 32, 32, 3), np.uint8), 10),
        Kind.SHORT_VIDEO,
    ),
    "slow video": (lambda r: encode(_video(r, file=1), np.zeros((4, 32, 32, 3), np.uint8), 5), Kind.FPS),
    "large video": (lambda r: encode(_video(r, file=1), np.zeros((4, 64, 64, 3), np.uint8), 10), Kind.SHAPE),
    "rows lost": (lambda r: _rows(r, lambda t: np.arange(len(t)) != 2, file=1), Kind.COUNTS),
    "unknown task": (lambda r: _column(r, *_put("task_index", 1, 77), file=1), Kind.TASK),
}


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", LOST)
def test_what_is_lost_is_named_and_set_aside_without_shifting_the_others(separate, name, episodes):
    damage, kind = LOST[name]
    damage(separate)
    faults = verify(separate)
    assert any(fault.kind == kind and not fault.repairable for fault in faults), faults
    actions = repair(separate)
    assert any(not action.mended and "episode 1" in f"{action.where}" for action in actions), actions
    assert verify(separate) == []
    dataset = Dataset.open(separate)
    assert dataset.num_episodes == 3
    kept = [episodes[i] for i in (0, 2, 3)]
    np.testing.assert_array_equal(dataset.state, np.concatenate([e["state"] for e in kept]))
    _assert_pictures(dataset, episodes, [0, 2, 3])


def _assert_pictures(dataset, episodes, kept):
    for camera in dataset.camera_names:
        original = np.concatenate([episodes[i]["images"][camera] for i in kept])
        got = dataset.frames(camera, np.arange(dataset.num_frames)).astype(int)
        assert np.abs(got - original).mean((1, 2, 3)).max() < 2.5


def test_damage_inside_a_video_needs_decoding_to_be_seen(separate):
    path = _video(separate, file=2)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 700  # past the settings, inside the first pictures
    content[start : start + 400] = b"\xff" * 400
    path.write_bytes(content)
    shutil.rmtree(separate / checksums.FOLDER)  # as in a set of another writer
    assert verify(separate, decode=False) == []
    assert Kind.UNREADABLE in _names(separate)


def test_wrong_fps_in_the_data_is_told_from_jitter(separate):
    for file in range(4):
        _column(separate, *_scaled("timestamp", 2.0), file=file)
    faults = [f for f in verify(separate) if f.kind == Kind.FPS]
    assert len(faults) == 4
    assert "timestamps run at 5 frames/s, info.json says 10" in faults[0].detail


def _scaled(column, factor):
    def edit(values):
        values *= factor

    return column, edit


def test_an_episode_row_that_is_lost_does_not_shift_later_videos(separate, episodes):
    (separate / v30.EPISODES_PATH.format(chunk_index=0, file_index=1)).unlink()
    assert Kind.INDEX_GAP in _names(separate)
    with pytest.raises(KinemaError, match="meta/episodes holds 3"):
        Dataset.open(separate)
    repair(separate)
    assert verify(separate) == []
    dataset = Dataset.open(separate)
    assert dataset.num_episodes == 4  # found again: its rows and its pictures are all there
    _assert_pictures(dataset, episodes, [0, 1, 2, 3])


def test_the_state_before_a_repair_is_kept(separate):
    before = pq.read_table(separate / v30.DATA_PATH.format(chunk_index=0, file_index=0))
    _video(separate, file=1).unlink()
    repair(separate)
    backup = separate / ".kinema/backup-1"
    assert pq.read_table(backup / v30.DATA_PATH.format(chunk_index=0, file_index=0)).equals(before)
    assert json.loads((backup / "meta/info.json").read_text())["total_episodes"] == 4


def test_captions_stay_with_their_episodes(separate):
    texts = {field.name: "x" for field in fields(Captions)}
    with CaptionFile(separate).writing() as file:
        for episode in (0, 1, 3):
            file.add(episode, Captions(**texts | {"goal": f"episode {episode}"}))
    _video(separate, file=1).unlink()
    repair(separate)
    told = read_captions(separate)
    assert {episode: captions.goal for episode, captions in told.items()} == {0: "episode 0", 2: "episode 3"}
    assert set(read_captions(separate / ".kinema/backup-1")) == {0, 1, 3}


def test_when_no_episode_is_whole_nothing_is_changed_and_nothing_claimed(joined):
    """As a lerobot recording looks that was killed before its data file got a footer."""
    _cut(joined / v30.DATA_PATH.format(chunk_index=0, file_index=0))
    before = {p: p.read_bytes() for p in joined.rglob("*") if p.is_file()}
    actions = repair(joined)
    assert not any(action.mended for action in actions)
    assert "no whole episode is left" in actions[-1].detail
    assert {p: p.read_bytes() for p in joined.rglob("*") if p.is_file()} == before


def test_foreign_and_absent_data_sets_are_named(tmp_path, joined):
    _info(joined, codebase_version="v1.6")
    assert _names(joined) == {Kind.FOREIGN}
    with pytest.raises(KinemaError, match=r"v1\.6; only v3\.0"):
        repair(joined)
    (joined / "meta/info.json").write_text("{")
    assert _names(joined) == {Kind.UNREADABLE}
    (joined / "meta/info.json").unlink()
    assert _names(joined) == {Kind.MISSING}
    with pytest.raises(KinemaError, match="not a folder"):
        repair(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["", "photo.jpg"])
def test_a_folder_that_is_no_data_set_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    if name:
        (tmp_path / name).write_text("x")
    with pytest.raises(KinemaError, match="is not a LeRobot data set"):
        repair(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ([name] if name else [])
