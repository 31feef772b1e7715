"""Data sets that are large in their metadata and empty on the disk: tables are written, files are sparse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kinema.card.load import load_card
from kinema.data import schema_v30 as v30
from kinema.data.schema_v21 import EPISODES, TASKS

EPISODE, PER_FILE = 150, 500  # frames of an episode, episodes of a file


def make_large(root: Path, episodes: int, *, file_bytes: int = 0, version: str = "v3.0") -> Path:
    """A Panda's set of so many episodes, two cameras; every data and video file is a hole of `file_bytes`."""
    card, E = load_card("panda"), episodes
    cameras = [f"observation.images.{name}" for name in card.camera_names]
    vectors = {"observation.state": card.states, "action": card.actions}
    features = dict(v30.DEFAULT_FEATURES)
    for name, channels in vectors.items():
        names = [channel.name for channel in channels]
        features[name] = {"dtype": "float32", "shape": [len(names)], "names": names}
    for key in cameras:
        features[key] = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"]}
    info = {
        "codebase_version": version, "robot_type": "panda", "fps": card.control_hz, "total_episodes": E,
        "total_frames": E * EPISODE, "total_tasks": 1, "chunks_size": 1000, "features": features,
        "data_path": v30.DATA_PATH, "video_path": v30.VIDEO_PATH,
    }  # fmt: skip
    (root / "meta").mkdir(parents=True)
    if version == "v3.0":
        _tables(root, E, cameras, card.control_hz)
        files = range(-(-E // PER_FILE))
        named = [v30.DATA_PATH.format(**v30.chunk_and_file(i)) for i in files]
        named += [v30.VIDEO_PATH.format(video_key=k, **v30.chunk_and_file(i)) for k in cameras for i in files]
    else:
        place = "chunk-{episode_chunk:03d}"
        info["data_path"] = f"data/{place}/episode_{{episode_index:06d}}.parquet"
        info["video_path"] = f"videos/{place}/{{video_key}}/episode_{{episode_index:06d}}.mp4"
        lines = ({"episode_index": e, "length": EPISODE, "tasks": ["push it"]} for e in range(E))
        (root / EPISODES).write_text("\n".join(map(json.dumps, lines)))
        (root / TASKS).write_text(json.dumps({"task_index": 0, "task": "push it"}))
        where = [{"episode_chunk": e // 1000, "episode_index": e} for e in range(E)]
        named = [info["data_path"].format(**w) for w in where]
        named += [info["video_path"].format(video_key=k, **w) for k in cameras for w in where]
    (root / "meta/info.json").write_text(json.dumps(info))
    for path in named:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        with (root / path).open("wb") as file:
            file.truncate(file_bytes)
    return root


def _tables(root: Path, E: int, cameras: list[str], fps: float) -> None:
    number = np.arange(E)
    place = {"chunk_index": number // PER_FILE // 1000, "file_index": number // PER_FILE % 1000}
    columns = {
        "episode_index": number, "length": np.full(E, EPISODE), "dataset_from_index": number * EPISODE,
        "dataset_to_index": (number + 1) * EPISODE, **{f"data/{name}": at for name, at in place.items()},
    }  # fmt: skip
    for key in cameras:
        start_s = number % PER_FILE * EPISODE / fps
        columns |= {f"videos/{key}/{name}": at for name, at in place.items()}
        columns |= {
            f"videos/{key}/from_timestamp": start_s,
            f"videos/{key}/to_timestamp": start_s + EPISODE / fps,
        }
    table = pa.table({**columns, "tasks": pa.array([["push it"]] * E)})
    for first in range(0, E, 50_000):
        path = root / v30.EPISODES_PATH.format(**v30.chunk_and_file(first // 50_000))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.slice(first, 50_000), path)
    v30.write_tasks(root / v30.TASKS, ["push it"])
