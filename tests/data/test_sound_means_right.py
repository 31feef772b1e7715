"""What trains wrongly is never called sound: rows, times, tasks, clips and pictures of every version."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from edits import data_file, edit_column, edit_info, edit_rows, edit_table, episodes_file, kinds

from conftest import SIZE, make_episode
from kinema.card.load import load_card
from kinema.card.prompt import MAX_INSTRUCTION_CHARS
from kinema.data import journal
from kinema.data.fault import Kind
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import Writer
from kinema.data.repair import repair
from kinema.data.verify import examine, verify
from kinema.data.video import Encoding, encode
from kinema.schema import KinemaError

FIXTURES = Path(__file__).parent / "fixtures"
FRONT = "videos/observation.images.front"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    return shutil.copytree(FIXTURES / "lerobot_v21", tmp_path / "v21")


@pytest.fixture
def ours(tmp_path: Path, recorded_once: Path) -> Path:
    return shutil.copytree(recorded_once, tmp_path / "ours")


def _lines(root: Path, name: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
    path = root / "meta" / name
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    path.write_text("\n".join(map(json.dumps, rows)))


def _column(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Path], None]:
    return lambda root: edit_column(data_file(root), name, change)


def _info(**change: Any) -> Callable[[Path], None]:
    return lambda root: edit_info(root, lambda info: info.update(change))


def _longer_video(root: Path) -> None:
    encode(
        next(root.glob("videos/*/*top/*_000000.mp4")), np.zeros((8, 64, 64, 3), np.uint8), 10.0, Encoding()
    )


OLDER: dict[str, tuple[Callable[[Path], object], Kind]] = {
    "frame_index reversed": (_column("frame_index", lambda v: v[::-1]), Kind.INDEX_GAP),
    "frame_index all 0": (_column("frame_index", lambda v: [0] * len(v)), Kind.INDEX_GAP),
    "timestamps all 0": (_column("timestamp", lambda v: [0.0] * len(v)), Kind.TIMESTAMPS),
    "timestamps of another rate": (_column("timestamp", lambda v: [3 * t for t in v]), Kind.FPS),
    "unknown task": (_column("task_index", lambda v: [99] * len(v)), Kind.TASK),
    "another task than its episode's": (_column("task_index", lambda v: [1] * len(v)), Kind.TASK),
    "a value that is none": (_column("action", lambda v: [None, *v[1:]]), Kind.MISSING_VALUES),
    "frames counted wrong": (_info(total_frames=7), Kind.COUNTS),
    "tasks counted wrong": (_info(total_tasks=7), Kind.COUNTS),
    "an episode not counted": (_info(total_episodes=2), Kind.COUNTS),
    "pictures of another size": (
        lambda r: edit_info(r, lambda i: i["features"]["observation.images.top"].update(shape=[48, 64, 3])),
        Kind.SHAPE,
    ),
    "pictures without rows": (_longer_video, Kind.SURPLUS),
    "a file without episode": (
        lambda r: shutil.copy(data_file(r), data_file(r).with_name("episode_000009.parquet")),
        Kind.ORPHAN,
    ),
    "no statistics": (lambda r: (r / "meta/episodes_stats.jsonl").unlink(), Kind.STATISTICS),
    "wrong statistics": (
        lambda r: _lines(
            r, "episodes_stats.jsonl", lambda rows: rows[1]["stats"]["action"].update(mean=[99, 0])
        ),
        Kind.STATISTICS,
    ),
    "an episode of another length": (
        lambda r: _lines(r, "episodes.jsonl", lambda rows: rows[1].update(length=7)),
        Kind.COUNTS,
    ),
}


@pytest.mark.parametrize("name", OLDER)
def test_a_damaged_older_set_is_named(older: Path, tmp_path: Path, name: str) -> None:
    damage, kind = OLDER[name]
    damage(older)
    faults = verify(older)
    assert kind in {fault.kind for fault in faults}
    assert not any(fault.repairable for fault in faults)  # v2.x sets are not mended here
    if any(fault.forbids_reading for fault in faults if not fault.where.startswith("videos")):
        with pytest.raises(KinemaError):
            Dataset.open(older)


def test_an_older_set_is_decoded_one_picture_at_a_time(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of an episode's pictures are never held at once."""
    monkeypatch.setattr("kinema.data.video.Decoder.at", None)
    assert verify(older) == []


# -- clips


def _clips(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    return lambda root: edit_rows(episodes_file(root), change)


def _moved(rows: list[dict[str, Any]], episode: int, by_s: float, parts: str = "from to") -> None:
    for part in parts.split():
        rows[episode][f"{FRONT}/{part}_timestamp"] += by_s


def _swapped(rows: list[dict[str, Any]], a: int, b: int) -> None:
    for part in ("from", "to"):
        key = f"{FRONT}/{part}_timestamp"
        rows[a][key], rows[b][key] = rows[b][key], rows[a][key]


def _drifting(rows: list[dict[str, Any]], frames: float) -> None:
    for number in range(len(rows)):
        _moved(rows, number, frames * number / 10)


CLIPS: dict[str, Callable[[Path], None]] = {
    "one frame late": _clips(lambda rows: _moved(rows, 1, 0.1)),
    "the last one frame late": _clips(lambda rows: _moved(rows, 3, 0.1)),
    "two on the same pictures": _clips(lambda rows: _moved(rows, 1, -0.7)),
    "swapped": _clips(lambda rows: _swapped(rows, 0, 2)),
    "an end in the next": _clips(lambda rows: _moved(rows, 0, 0.3, "to")),
    "drifting by 0.2 frames": _clips(lambda rows: _drifting(rows, 0.15)),
    "drifting by more": _clips(lambda rows: _drifting(rows, 0.6)),
}


@pytest.mark.parametrize("name", CLIPS)
def test_clips_that_are_not_where_they_should_be_are_named_and_mended(
    ours: Path, recorded_once: Path, name: str
) -> None:
    CLIPS[name](ours)
    assert Kind.CLIP in kinds(ours) or Kind.SHORT_VIDEO in kinds(ours)
    truth = Dataset.open(recorded_once)
    everything = np.arange(truth.num_frames)
    pictures = truth.frames("front", everything)
    try:  # what is read before it is mended is right, or refused
        np.testing.assert_array_equal(Dataset.open(ours).frames("front", everything), pictures)
    except KinemaError:
        assert "drifting" not in name
    assert all(action.mended for action in repair(ours))
    assert verify(ours) == []
    np.testing.assert_array_equal(Dataset.open(ours).frames("front", everything), pictures)


def test_surplus_pictures_are_named_until_a_repair_explains_them(ours: Path) -> None:
    """A repair that sets an episode aside leaves its pictures in the video."""
    edit_column(data_file(ours), "action", lambda rows: [*rows[:8], [float("nan")] * 7, *rows[9:]])
    assert repair(ours)
    assert Dataset.open(ours).num_episodes == 3
    assert verify(ours) == []
    (ours / "meta/set_aside.json").unlink()
    assert kinds(ours) == {Kind.SURPLUS}


def test_the_nearest_picture_is_read(older: Path) -> None:
    """Rows at 10 Hz, video at 30 Hz: a set that was thinned without encoding again."""
    path = next(older.glob("videos/*/*top/*_000000.mp4"))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "5", "bf": "0"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for k in range(18):
            picture = np.full((64, 64, 3), 12 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    read = Dataset.open(older).frames("top", np.arange(6))[:, 0, 0, 0] / 12
    np.testing.assert_array_equal(read.round(), [0, 3, 6, 9, 12, 15])
    assert verify(older) == []
    assert any("30 frames/s" in fault.detail for fault in examine(older))


def test_a_depth_video_is_refused_by_name(older: Path) -> None:
    path = next(older.glob("videos/*/*top/*_000000.mp4"))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "gray16le"
        for _ in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64), 700, np.uint16), format="gray16le")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert Kind.SHAPE in kinds(older)
    with pytest.raises(KinemaError, match=r"_000000\.mp4 holds distances"):
        Dataset.open(older).frames("top", [0])


# -- rows


def _taken(order: Callable[[int], list[int]]) -> Callable[[Path], None]:
    return lambda root: edit_table(data_file(root), lambda t: t.take(order(len(t))))


@pytest.mark.parametrize("seed", range(4))
def test_rows_out_of_order_are_sorted_not_renumbered(ours: Path, recorded_once: Path, seed: int) -> None:
    """Whole rows of an episode in any order: the picture of a row is still the row's own afterwards."""
    rng, bounds = np.random.default_rng(seed), Dataset.open(ours).episode_bounds
    order = np.concatenate([first + rng.permutation(end - first) for first, end in bounds])
    edit_table(data_file(ours), lambda t: t.take(order))
    assert Kind.INDEX_GAP in kinds(ours)
    assert all(action.mended for action in repair(ours))
    assert verify(ours) == []
    mended, truth = Dataset.open(ours), Dataset.open(recorded_once)
    np.testing.assert_array_equal(mended.state, truth.state)
    np.testing.assert_array_equal(mended.action, truth.action)


def test_rows_whose_order_nothing_tells_are_set_aside(ours: Path) -> None:
    def tell_nothing(table: pa.Table) -> pa.Table:
        for name in ("frame_index", "index", "timestamp"):
            values = np.array(table[name].to_pylist())
            values[:7] = values[[3, 3, 1, 0, 6, 6, 2]]
            at = table.schema.get_field_index(name)
            table = table.set_column(
                at, table.schema.field(at), pa.array(values, table.schema.field(at).type)
            )
        return table

    edit_table(data_file(ours), tell_nothing)
    actions = repair(ours)
    assert [a.where for a in actions if not a.mended and a.where.startswith("episode")] == ["episode 0"]
    assert verify(ours) == []
    assert Dataset.open(ours).num_episodes == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (lambda v: [*v[:2], None, *v[3:]], "action is null in frame 2"),
        (lambda v: [*v[:2], [None, *v[2][1:]], *v[3:]], "action holds a null in frame 2"),
        (lambda v: [*v[:2], v[2][:-1], [v[2][-1], *v[3]], *v[4:]], "action holds 6 numbers"),
        (lambda v: [*v[:2], [float("inf"), *v[2][1:]], *v[3:]], "action, 1 frames, first 2"),
    ],
)
def test_a_row_that_is_not_what_it_should_be_is_named_and_hides_nothing(
    ours: Path, values: Any, said: str
) -> None:
    edit_column(data_file(ours), "action", values, pa.list_(pa.float32()))
    edit_info(ours, lambda info: info.update(total_tasks=9))
    faults = verify(ours)
    (named,) = [fault for fault in faults if fault.where.endswith("file-000.parquet, episode 0")]
    assert said in named.detail
    assert Kind.COUNTS in {fault.kind for fault in faults}
    with pytest.raises(KinemaError, match=r"ours: .*file-000\.parquet, episode 0: " + said):
        Dataset.open(ours)
    assert any(action.where == "episode 0" and not action.mended for action in repair(ours))
    assert Dataset.open(ours).num_episodes == 3


def test_a_damaged_part_of_a_file_costs_only_the_episodes_in_it(ours: Path, recorded_once: Path) -> None:
    path = data_file(ours)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    assert {Kind.UNREADABLE, Kind.CHANGED} <= kinds(ours)
    with pytest.raises(KinemaError, match="4 of 25 rows, first 7"):
        Dataset.open(ours)
    assert [a.where for a in repair(ours) if "set aside" in a.detail] == ["episode 1"]
    assert verify(ours) == []
    truth = Dataset.open(recorded_once)
    np.testing.assert_array_equal(Dataset.open(ours).state, truth.state[truth.episode_index != 1])


@pytest.mark.parametrize("stat", ["mean", "std", "q50", "min", "count"])
def test_wrong_statistics_are_named_and_mended(ours: Path, stat: str) -> None:
    path = ours / "meta/stats.json"
    stats = json.loads(path.read_text())
    stats["action"][stat] = [50.0] * len(stats["action"][stat])
    path.write_text(json.dumps(stats))
    assert kinds(ours, decode=False) == {Kind.STATISTICS}
    repair(ours)
    assert verify(ours, decode=False) == []


def test_an_episodes_wrong_statistics_are_named(ours: Path) -> None:
    edit_column(
        episodes_file(ours), "stats/action/mean", lambda rows: [rows[0], [9.0] * 7, *rows[2:]],
        pa.list_(pa.float64()),
    )  # fmt: skip
    (fault,) = verify(ours, decode=False)
    assert "action: mean of episode 1" in fault.detail


def test_a_camera_that_stood_still_while_the_body_moved_is_remarked(tmp_path: Path) -> None:
    episode = make_episode(0, 20)
    frozen = episode["images"]["front"]
    frozen[5:] = frozen[5]
    with Writer(tmp_path / "set", card=load_card("panda"), image_size=SIZE) as writer:
        writer.add_episode(**episode)
        writer.add_episode(**make_episode(1, 20))
    assert verify(tmp_path / "set") == []
    (remark,) = examine(tmp_path / "set")
    assert remark.kind == Kind.REMARK
    assert "file-000.mp4, episode 0" in remark.where
    assert "15 of 20 pictures from frame 5 on" in remark.detail


def test_what_harms_nothing_here_but_others_is_remarked(older: Path) -> None:
    edit_column(data_file(older), "timestamp", lambda times: [times[0], times[1] + 5e-4, *times[2:]])
    _lines(older, "tasks.jsonl", lambda rows: rows[1].update(task="two\nlines"))
    _lines(older, "episodes.jsonl", lambda rows: rows[1].update(tasks=["two\nlines"]))
    remarks = [str(fault) for fault in examine(older, decode=False) if fault.kind == Kind.REMARK]
    assert any("episode 0: 1 timestamps are more than 0.1 ms off (first: frame 1)" in r for r in remarks)
    assert any("meta/tasks.jsonl: task 1: the instruction has a control character" in r for r in remarks)
    assert Dataset.open(older).tasks[1] == "two\nlines"


# -- writing


@pytest.mark.parametrize(
    "task",
    ["pick it up\nthen put it down", "\ufeffpick it up", "wave at the \U0001f468\u200d\U0001f527",
     "w" * (MAX_INSTRUCTION_CHARS + 1), "say <|pad|>", "\ud800"],
)  # fmt: skip
def test_the_writer_refuses_what_training_refuses(tmp_path: Path, task: str) -> None:
    episode = make_episode(0, 3)
    with Writer(tmp_path / "set", card=load_card("panda"), image_size=SIZE) as writer:
        with pytest.raises(KinemaError, match="the instruction"):
            writer.add_episode(**episode | {"task": task})
        writer.add_episode(**episode)
    assert Dataset.open(tmp_path / "set").tasks == [episode["task"]]


def test_a_recording_of_lerobot_with_columns_of_its_own_is_gone_on_with(ours: Path) -> None:
    edit_table(episodes_file(ours), lambda t: t.append_column("quality", pa.array([0.5] * len(t))))
    with Writer(ours, card=load_card("panda"), image_size=SIZE, resume=True) as writer:
        writer.add_episode(**make_episode(1, 4))
    assert pq.read_table(episodes_file(ours))["quality"].to_pylist() == [0.5] * 4 + [None]
    assert verify(ours) == []
    assert Dataset.open(ours).num_episodes == 5


# -- reading while somebody writes


def test_a_set_is_read_while_it_is_recorded(tmp_path: Path) -> None:
    """Every reading is of one state; none says that a change was interrupted."""
    root, done = tmp_path / "set", threading.Event()
    writer = Writer(root, card=load_card("panda"), image_size=SIZE)
    writer.add_episode(**make_episode(0, 3))

    def record() -> None:
        for number in range(1, 6):
            writer.add_episode(**make_episode(number, 3))
        writer.finalize()
        done.set()

    recorder = threading.Thread(target=record)
    recorder.start()
    counts = []
    while not done.is_set():
        counts.append(Dataset.open(root).num_episodes)
    recorder.join()
    assert counts == sorted(counts)
    assert Dataset.open(root).num_episodes == 6


def test_a_writer_that_leaves_no_room_is_said_to_be_at_work(ours: Path) -> None:
    (ours / journal.HIDDEN / "journal").mkdir()
    with pytest.raises(KinemaError, match="a change was interrupted"):
        journal.read_quietly(ours, lambda: None)
    lock = journal.WriterLock(ours)
    waited: list[float] = []
    with pytest.raises(KinemaError, match="is being recorded by another process"):
        journal.read_quietly(ours, lambda: None, sleep=waited.append)
    assert waited
    lock.release()


def test_a_dry_run_writes_nothing(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_info(ours, lambda info: info.update(total_frames=3))
    shutil.rmtree(ours / ".kinema")
    before = {path: path.stat().st_mtime_ns for path in ours.rglob("*")}
    for name in ("mkdir", "replace", "rename", "unlink", "link", "symlink"):
        monkeypatch.setattr(os, name, None)
    assert [action.mended for action in repair(ours, dry_run=True)] == [True]
    assert {path: path.stat().st_mtime_ns for path in ours.rglob("*")} == before


def test_a_repair_that_fails_leaves_everything_as_it_was(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_column(data_file(ours), "index", lambda rows: [0] * len(rows))

    def contents() -> dict[str, bytes]:
        files = (p for p in ours.rglob("*") if p.is_file())
        return {str(p): p.read_bytes() for p in files if "lock" not in p.name}

    def fail(*_: object) -> None:
        raise KinemaError("no statistics today")

    before = contents()
    monkeypatch.setattr("kinema.data.repaired.stage_statistics", fail)
    with pytest.raises(KinemaError, match="no statistics today"):
        repair(ours)
    assert contents() == before
