"""Edited sets are sound, hold what the sets before them held, and pictures are those that were there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.data.edits import edit_info, episodes_file

from kinema import cli
from kinema.data import new_folder as folder_module
from kinema.data.captions import FILE, as_lines, read_captions
from kinema.data.edit import operations as edit
from kinema.data.index import Index
from kinema.data.lerobot import Dataset
from kinema.data.verify import examine, verify
from kinema.data.video import LEROBOT, Encoding, encode, probe
from kinema.schema import Captions, KinemaError

FIXTURES = Path(__file__).parent / "fixtures"
SETS = [FIXTURES / "lerobot_v30", FIXTURES / "lerobot_v21"]


def same_episodes(made: Dataset, old: Dataset, episodes: list[int], first: int = 0) -> None:
    """The made set's episodes from `first` on are these of the old one, every number and picture of them."""
    for number, episode in enumerate(episodes, first):
        new, was = slice(*made.episode_bounds[number]), slice(*old.episode_bounds[episode])
        for name in set(old.own_columns()) - {"episode_index", "index", "task_index"}:
            np.testing.assert_array_equal(made.column(name)[new], old.column(name)[was], name)
        assert [made.tasks[i] for i in made.task_index[new]] == [old.tasks[i] for i in old.task_index[was]]
        for camera in old.camera_names:
            pictures = [d.frames(camera, np.arange(s.start, s.stop)) for d, s in ((made, new), (old, was))]
            np.testing.assert_array_equal(*pictures)


@pytest.fixture(params=["ours", "lerobot v3.0", "lerobot v2.1"])
def root(request: pytest.FixtureRequest, recorded_once: Path) -> Path:
    return {"ours": recorded_once, "lerobot v3.0": SETS[0], "lerobot v2.1": SETS[1]}[request.param]


def test_deleting_moves_the_others_up_and_keeps_their_pictures(root, tmp_path):
    old = Dataset.open(root)
    edit.delete(root, "1", tmp_path / "out")
    made = Dataset.open(tmp_path / "out")
    assert examine(tmp_path / "out") == []
    left = [e for e in range(old.num_episodes) if e != 1]
    assert made.num_episodes == len(left)
    same_episodes(made, old, left)


def test_parts_merged_again_are_the_set(root, tmp_path):
    old = Dataset.open(root)
    last = old.num_episodes - 1
    edit.split(root, {"odd": "1", "rest": f"0,2-{last}"}, tmp_path / "parts")
    edit.merge([tmp_path / "parts/rest", tmp_path / "parts/odd"], tmp_path / "out")
    for folder in ("parts/odd", "parts/rest", "out"):
        assert verify(tmp_path / folder) == []
    same_episodes(Dataset.open(tmp_path / "out"), old, [0, *range(2, last + 1), 1])
    statistics = [{n: np.ravel(s["mean"]) for n, s in Dataset.open(r).statistics.items() if n == "action"}
                  for r in (root, tmp_path / "out") if (r / "meta/stats.json").is_file()]  # fmt: skip
    for told in statistics:
        np.testing.assert_allclose(told["action"], statistics[0]["action"], rtol=1e-5)


def test_shares_are_taken_in_order(recorded_once, tmp_path):
    edit.split(recorded_once, {"train": "0.75", "test": "0.25"}, tmp_path / "parts")
    old = Dataset.open(recorded_once)
    same_episodes(Dataset.open(tmp_path / "parts/train"), old, [0, 1, 2])
    same_episodes(Dataset.open(tmp_path / "parts/test"), old, [3])


@pytest.mark.parametrize("root", ["ours", "lerobot v2.1"], indirect=True)
def test_features_are_added_renamed_and_removed(root, tmp_path):
    old = Dataset.open(root)
    force = np.random.default_rng(0).normal(size=(old.num_frames, 3)).astype(np.float32)
    edit.add_feature(root, "observation.force", force, ["x", "y", "z"], tmp_path / "added")
    camera = old.camera_names[0]
    names = {"action": "command", f"observation.images.{camera}": "observation.images.eye"}
    edit.rename_features(tmp_path / "added", names, tmp_path / "named")
    edit.remove_features(tmp_path / "named", ["observation.state"], tmp_path / "less")
    made = Dataset.open(tmp_path / "less")
    for folder in ("added", "named", "less"):
        assert verify(tmp_path / folder) == []
    np.testing.assert_array_equal(made.column("observation.force"), force)
    np.testing.assert_array_equal(made.column("command"), old.action)
    assert not made.has("observation.state")
    frames = np.arange(made.num_frames)
    np.testing.assert_array_equal(made.frames("eye", frames), old.frames(camera, frames))
    table = pa.parquet.read_table(episodes_file(tmp_path / "less")).column_names
    told = {name.split("/")[1] for name in table if name.startswith("stats/")}
    assert {"command", "observation.force", "observation.images.eye"} <= told
    assert not told & {"action", "observation.state", f"observation.images.{camera}"}


def test_tasks_are_told_anew(recorded_once, tmp_path):
    old = Dataset.open(recorded_once)
    was = old.tasks[0]
    edit.retask(recorded_once, "lift it", tmp_path / "out", was=was, episodes="0-1")
    made = Dataset.open(tmp_path / "out")
    assert verify(tmp_path / "out") == []
    told = [made.tasks[made.task_index[first]] for first in made.episode_bounds[:, 0]]
    assert told == ["lift it", *(old.tasks[old.task_index[f]] for f in old.episode_bounds[1:, 0])]
    assert sorted(made.tasks) == sorted(set(told))  # none that no episode has


@pytest.mark.parametrize("root", ["lerobot v2.1"], indirect=True)
def test_pictures_are_encoded_anew(root, tmp_path):
    old = Dataset.open(root)
    edit.encode(root, Encoding(crf=4, keyframe_every=3), tmp_path / "out")
    made, frames = Dataset.open(tmp_path / "out"), np.arange(old.num_frames)
    assert verify(tmp_path / "out") == []
    for camera in old.camera_names:
        off = made.frames(camera, frames).astype(int) - old.frames(camera, frames)
        assert np.abs(off).mean() < 2
    info = json.loads((tmp_path / "out/meta/info.json").read_text())["features"][old.camera_key(camera)]
    assert (info["info"]["video.codec"], info["info"]["video.crf"]) == ("h264", 4)


def test_episodes_that_do_not_begin_with_a_key_frame_are_encoded_anew(recorded_once, tmp_path, caplog):
    root = shutil.copytree(recorded_once, tmp_path / "set")
    old = Dataset.open(root)
    shown, long = {}, replace(LEROBOT, crf=10, preset="8", keyframe_every=100)
    for path in root.glob("videos/*/*/*.mp4"):
        pictures = old.frames(path.parts[-3], np.arange(old.num_frames))
        encode(path, pictures, old.fps, long)
        shown[path.parts[-3]] = pictures
    shutil.rmtree(root / "meta/checksums")
    edit.delete(root, "0", tmp_path / "out")
    assert "encoded anew" in caplog.text
    assert verify(tmp_path / "out") == []
    made, first = Dataset.open(tmp_path / "out"), int(old.episode_bounds[0, 1])
    for key, pictures in shown.items():
        assert np.abs(made.frames(key, np.arange(made.num_frames)).astype(int) - pictures[first:]).mean() < 5


def test_captions_follow_their_episodes_and_what_others_told_stays(recorded_once, tmp_path):
    root = shutil.copytree(recorded_once, tmp_path / "set")
    layers = dict.fromkeys(Captions.__dataclass_fields__, "")
    (root / FILE).write_text(as_lines({e: Captions(**layers | {"goal": f"goal {e}"}) for e in (0, 2)}))
    table = pa.parquet.read_table(episodes_file(root))
    pa.parquet.write_table(
        table.append_column("quality", pa.array([0.5, 0.1, 0.9, 0.7])), episodes_file(root)
    )
    edit.delete(root, "1", tmp_path / "out")
    assert {e: told.goal for e, told in read_captions(tmp_path / "out").items()} == {0: "goal 0", 1: "goal 2"}
    assert pa.parquet.read_table(episodes_file(tmp_path / "out"))["quality"].to_pylist() == [0.5, 0.9, 0.7]


def files_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_kill_at_any_step_loses_nothing(recorded_once, tmp_path, monkeypatch):
    """What is on the disk when the process is gone: the set as it was, and no half of the new one."""
    root = shutil.copytree(recorded_once, tmp_path / "set")
    before, out = files_of(root), tmp_path / "out"
    steps, end_at = 0, -1

    class KilledError(BaseException):
        pass

    def hook(event, arguments):
        nonlocal steps
        if event in ("open", "os.rename", "os.mkdir", "shutil.copyfile") and end_at is not None:
            named = next((str(a) for a in arguments if ".out.making" in str(a)), None)
            if named is not None:
                steps += 1
                if steps == end_at:
                    raise KilledError

    sys.addaudithook(hook)
    edit.delete(root, "1", out)  # counts the steps
    whole, total = files_of(out), steps
    assert total > 20
    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "_sweep", lambda folder: None)  # the dead clean nothing up
        for end_at in (1, total // 2, total):
            shutil.move(out, tmp_path / f"done-{end_at}") if out.exists() else None
            steps = 0
            with pytest.raises(KilledError):
                edit.delete(root, "1", out)
            assert not out.exists()
            assert files_of(root) == before
            patch.undo()
            end_at = -1
            edit.delete(root, "1", out)
            assert files_of(out) == whole
            patch.setattr(folder_module, "_sweep", lambda folder: None)
    end_at = None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["delete", "SET", "--episodes", "9"], "has no episode 9; its are 0 … 3"),
        (["delete", "SET", "--episodes", "0-3"], "no episode would be left"),
        (["delete", "SET", "--episodes", "two"], "write numbers and ranges with commas"),
        (["merge", "SET"], "needs two data sets or more"),
        (["merge", "SET", "LEROBOT"], "cannot be one set: robot_type is 'panda' and 'so101'"),
        (["split", "SET", "--parts", "a=0-1,b=1-2"], "episode 1 would be in 'a' and 'b'"),
        (["split", "SET", "--parts", "a=0.7,b=0.7"], "at most 1 in all"),
        (["remove", "SET", "--features", "actoin"], "there is no feature 'actoin'; did you mean 'action'?"),
        (["remove", "SET", "--features", "timestamp"], "can be neither removed nor renamed"),
        (["rename", "SET", "--features", "action=observation.state"], "two features 'observation.state'"),
        (["add", "SET", "--feature", "action.x", "--values", "VALUES"], "3 rows of values, but"),
        (["tasks", "SET", "--to", "lift it", "--from", "fly"], "has the task 'fly'"),
        (["tasks", "SET", "--to", "two\nlines"], "control character U+000A"),
        (["delete", "SET", "--episodes", "0", "--out", "SET"], "exists; name a folder that does not"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(arguments, said, recorded_once, tmp_path, capsys):
    np.save(tmp_path / "values.npy", np.zeros((3, 2), np.float32))
    paths = {"SET": str(recorded_once), "LEROBOT": str(SETS[0]), "VALUES": str(tmp_path / "values.npy")}
    line = [paths.get(word, word) for word in arguments]
    if "--out" not in line:
        line += ["--out", str(tmp_path / "out")]
    assert cli.exit_code(["data", "edit", *line]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["values.npy"]


def test_a_set_with_a_fault_is_not_edited(recorded_once, tmp_path):
    root = shutil.copytree(recorded_once, tmp_path / "set")
    edit_info(root, lambda info: info.update(total_frames=24))
    with pytest.raises(KinemaError, match="kinema data verify"):
        edit.delete(root, "0", tmp_path / "out")


_LEROBOT = os.environ.get("KINEMA_LEROBOT_PYTHON", "")
_LOADER = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
dataset = LeRobotDataset("local/set", root=sys.argv[1], video_backend="pyav")
items = [dataset[i] for i in range(len(dataset))]
keys = ["action", "episode_index", "observation.images.front"]
np.savez(sys.argv[2], tasks=[i["task"] for i in items], **{k: np.stack([i[k] for i in items]) for k in keys})
"""


@pytest.mark.skipif(not _LEROBOT, reason="set KINEMA_LEROBOT_PYTHON to a Python that has lerobot")
def test_lerobot_reads_what_was_deleted_retasked_and_merged(recorded_once, tmp_path):
    edit.delete(recorded_once, "1", tmp_path / "less")
    edit.retask(recorded_once, "lift it", tmp_path / "told", episodes="2")
    edit.merge([tmp_path / "less", tmp_path / "told"], tmp_path / "out")
    line = [_LEROBOT, "-c", _LOADER, str(tmp_path / "out"), str(tmp_path / "items.npz")]
    subprocess.run(line, check=True, timeout=280)
    theirs, ours = np.load(tmp_path / "items.npz"), Dataset.open(tmp_path / "out")
    np.testing.assert_array_equal(theirs["action"], ours.action)
    np.testing.assert_array_equal(theirs["episode_index"], ours.episode_index)
    assert theirs["tasks"].tolist() == [ours.tasks[i] for i in ours.task_index]
    pictures = theirs["observation.images.front"].transpose(0, 2, 3, 1) * 255
    assert np.abs(pictures - ours.frames("front", np.arange(ours.num_frames))).max() < 1


def test_the_commands_edit(recorded_once, tmp_path, capsys):
    out = [str(tmp_path / name) for name in "abc"]
    assert (
        cli.exit_code(["data", "edit", "delete", str(recorded_once), "--episodes", "0,2-3", "--out", out[0]])
        == 0
    )
    assert "1 episodes, 4 frames, 1 instructions" in capsys.readouterr().out
    assert cli.exit_code(["data", "edit", "merge", out[0], str(recorded_once), "--out", out[1]]) == 0
    assert "5 episodes, 29 frames" in capsys.readouterr().out
    encode_line = ["data", "edit", "encode", out[0], "--crf", "20", "--pixels", "yuv420p", "--out", out[2]]
    assert cli.exit_code(encode_line) == 0
    assert probe(next(Path(out[2]).glob("videos/*/*/*.mp4"))).pixel_format == "yuv420p"


def test_a_foreign_set_that_lacks_videos_says_how_to_go_on_without_them(tmp_path, capsys):
    """As mirrors leave them: v2.1, channels named [[...]], a video of some episode not there."""
    whole = Dataset.open(SETS[1])
    root = shutil.copytree(SETS[1], tmp_path / "theirs")

    def nested(info):
        for name in ("observation.state", "action"):
            info["features"][name]["names"] = [info["features"][name]["names"]]

    edit_info(root, nested)
    next(root.glob("videos/*/*/episode_000001.mp4")).unlink()
    with pytest.raises(KinemaError, match=r"episode_000001.mp4 is missing; episodes 1 lack files") as caught:
        Index.open(root)
    command = str(caught.value).rsplit(": kinema ", 1)[1].replace("NEW", str(tmp_path / "out"))
    assert any("episode_000001.mp4" in fault.where for fault in verify(root))
    wrong = ["data", "edit", "delete", str(root), "--episodes", "0", "--out", str(tmp_path / "out")]
    assert cli.exit_code(wrong) == 2
    assert "episodes 1 lack files" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert cli.exit_code(command.split()) == 0
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert examine(tmp_path / "out") == []
    same_episodes(Dataset.open(tmp_path / "out"), whole, [0, 2])
