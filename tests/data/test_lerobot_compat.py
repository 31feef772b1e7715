"""What lerobot wrote loads here, and (when an interpreter with lerobot is named) the other way round."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kinema.data.frames import FrameCache
from kinema.data.lerobot import Dataset
from kinema.data.verify import verify

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize("version", ["v30", "v21"])
def test_what_lerobot_wrote_loads_here(version, tmp_path):
    dataset = Dataset.open(FIXTURES / f"lerobot_{version}")
    assert dataset.metadata.version == {"v30": "v3.0", "v21": "v2.1"}[version]
    assert (dataset.card_name, dataset.fps, dataset.camera_names) == ("so101", 10.0, ("top", "side"))
    assert dataset.episode_bounds.tolist() == [[0, 6], [6, 15], [15, 19]]
    e, t = dataset.episode_index, dataset.frame_index
    np.testing.assert_array_equal(dataset.state, np.stack([e, t, 100 * e + t], 1))
    np.testing.assert_array_equal(dataset.action, np.stack([t, -e], 1))
    assert [dataset.tasks[i] for i in dataset.task_index] == [f"task {k % 2}" for k in e]
    cache = FrameCache(dataset, size=64, directory=tmp_path)
    for i, frame in enumerate(cache[np.arange(dataset.num_frames)].astype(int)):
        drawn = [_picture(episode, step) for episode in range(3) for step in range(9)]
        for view, pictures in enumerate((drawn, [p[:, ::-1] for p in drawn])):
            errors = [np.abs(frame[view] - picture).mean() for picture in pictures]
            assert int(np.argmin(errors)) == 9 * e[i] + t[i]  # nearest to its own picture of all


def _picture(episode: int, step: int) -> np.ndarray:
    """What was drawn when the fixtures were recorded (see fixtures/README.md)."""
    picture = np.full((64, 64, 3), (40 + 50 * episode, 90, 120), int)
    picture[10:30, 5 * step : 5 * step + 12] = (220, 40, 40)
    return picture


@pytest.mark.parametrize("version", ["v30", "v21"])
def test_what_lerobot_wrote_is_sound(version):
    assert verify(FIXTURES / f"lerobot_{version}") == []


def test_pictures_embedded_in_parquet_are_read(tmp_path):
    """lerobot's dtype "image": PNG bytes in the data file instead of a video."""
    root = shutil.copytree(FIXTURES / "lerobot_v30", tmp_path / "set")
    pictures = np.random.default_rng(0).integers(0, 256, (19, 8, 8, 3), dtype=np.uint8)
    stored = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        stored.append({"bytes": buffer.getvalue(), "path": None})
    path = next(root.glob("data/*/*.parquet"))
    pq.write_table(pq.read_table(path).append_column("observation.images.top", pa.array(stored)), path)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.top"] |= {"dtype": "image", "shape": [8, 8, 3]}
    (root / "meta/info.json").write_text(json.dumps(info))
    order = np.random.default_rng(1).permutation(19)
    np.testing.assert_array_equal(Dataset.open(root).frames("top", order), pictures[order])


_LEROBOT = os.environ.get("KINEMA_LEROBOT_PYTHON", "")
_LOADER = """
import json, sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
root, out = sys.argv[1:]
plain = LeRobotDataset("local/set", root=root, video_backend="pyav")
steps = {"action": [i / plain.fps for i in range(4)]}
windows = LeRobotDataset("local/set", root=root, video_backend="pyav", delta_timestamps=steps)
items = [plain[i] for i in range(len(plain))]
np.savez(
    out,
    **{k: np.stack([np.asarray(item[k]) for item in items]) for k in items[0] if k != "task"},
    window=np.stack([np.asarray(windows[i]["action"]) for i in range(len(plain))]),
    is_pad=np.stack([np.asarray(windows[i]["action_is_pad"]) for i in range(len(plain))]),
)
stats = {k: {s: np.asarray(v).tolist() for s, v in f.items()} for k, f in plain.meta.stats.items()}
json.dump({"tasks": [i["task"] for i in items], "robot": plain.meta.robot_type, "stats": stats,
           "episodes": plain.meta.total_episodes}, open(out + ".json", "w"))
"""


@pytest.mark.skipif(not _LEROBOT, reason="set KINEMA_LEROBOT_PYTHON to a Python that has lerobot")
@pytest.mark.parametrize("which", ["recorded_once", "unfinished_once"])
def test_lerobots_own_loader_reads_what_we_wrote(which, request, tmp_path):
    root, out = request.getfixturevalue(which), tmp_path / "items.npz"
    subprocess.run([_LEROBOT, "-c", _LOADER, str(root), str(out)], check=True, timeout=280)
    theirs, ours = np.load(out), Dataset.open(root)
    summary = json.loads(Path(f"{out}.json").read_text())
    assert (summary["robot"], summary["episodes"]) == ("panda", ours.num_episodes)
    assert summary["tasks"] == [ours.tasks[i] for i in ours.task_index]
    for name in ("observation.state", "action", "action.executed", "annotation.points"):
        np.testing.assert_array_equal(theirs[name], ours.column(name))
    for name in ("next.success", "frame_index", "index", "task_index", "timestamp"):
        np.testing.assert_array_equal(theirs[name], ours.column(name)[:, 0])
    for camera in ours.camera_names:
        pictures = theirs[f"observation.images.{camera}"].transpose(0, 2, 3, 1) * 255
        assert np.abs(pictures - ours.frames(camera, np.arange(ours.num_frames))).max() < 1.0
    indices, mask = ours.window(np.arange(ours.num_frames), 4)
    np.testing.assert_array_equal(theirs["window"], ours.action[indices])
    np.testing.assert_array_equal(theirs["is_pad"], ~mask)
    assert np.shape(summary["stats"]["observation.images.front"]["mean"]) == (3, 1, 1)
    assert summary["stats"]["action"]["count"] == [ours.num_frames]
