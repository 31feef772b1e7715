"""Reading LeRobotDataset v2.1 and v2.0: one data file and one video per camera for every episode."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinema.data.metadata import Clip, EpisodeRecord, Metadata, camera_keys
from kinema.schema import KinemaError


def read(root: Path, info: Mapping[str, Any]) -> Metadata:
    """Metadata of a v2.x data set whose info.json was read. Raises KinemaError naming file and fault."""
    tasks = {row["task_index"]: row["task"] for row in read_lines(root / "meta/tasks.jsonl")}
    if sorted(tasks) != list(range(len(tasks))):
        raise KinemaError(
            f"{root}/meta/tasks.jsonl: task numbers must be 0 … {len(tasks) - 1}; got {sorted(tasks)}"
        )
    rows = sorted(read_lines(root / "meta/episodes.jsonl"), key=lambda row: row["episode_index"])
    if len(rows) < info["total_episodes"]:
        raise KinemaError(
            f"{root}: info.json counts {info['total_episodes']} episodes, episodes.jsonl holds {len(rows)}"
        )
    episodes, first_row = [], 0
    for position, row in enumerate(rows[: info["total_episodes"]]):
        if row["episode_index"] != position:
            raise KinemaError(f"{root}/meta/episodes.jsonl: episode {position} is missing (index gap)")
        episodes.append(_episode(row, info, first_row))
        first_row += row["length"]
    return Metadata(
        root=root,
        version=str(info["codebase_version"]),
        robot_type=info.get("robot_type"),
        fps=float(info["fps"]),
        features=info["features"],
        tasks=tuple(tasks[i] for i in range(len(tasks))),
        episodes=tuple(episodes),
        info=info,
    )


def _episode(row: Mapping[str, Any], info: Mapping[str, Any], first_row: int) -> EpisodeRecord:
    number, fps = row["episode_index"], float(info["fps"])
    place = {"episode_chunk": number // int(info.get("chunks_size", 1000)), "episode_index": number}
    clips = {
        key: Clip(
            path=info["video_path"].format(video_key=key, **place), start_s=0.0, end_s=row["length"] / fps
        )
        for key in camera_keys(info["features"])
        if info["features"][key]["dtype"] == "video"
    }
    return EpisodeRecord(
        index=number,
        length=row["length"],
        tasks=tuple(row["tasks"]),
        data_path=info["data_path"].format(**place),
        first_row=first_row,
        clips=clips,
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A JSON-lines file. Raises KinemaError naming the line that is not JSON."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise KinemaError(f"{path} is missing") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise KinemaError(f"{path}, line {number}: not valid JSON (truncated?): {error}") from error
    return rows
