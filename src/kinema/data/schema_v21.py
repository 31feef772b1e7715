"""The metadata of LeRobotDataset v2.1 and v2.0: one data file and one video per camera for every episode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from kinema.data.episodes import Clips, Episodes, Files, check_template
from kinema.data.fault import Fault, Kind
from kinema.data.info import checked, parse_json, read_text
from kinema.data.metadata import video_keys
from kinema.schema import KinemaError

EPISODES, TASKS, EPISODE_STATS = "meta/episodes.jsonl", "meta/tasks.jsonl", "meta/episodes_stats.jsonl"
MAX_LENGTH = 2**31  # frames of an episode


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Episode(_Line):
    episode_index: Annotated[int, Field(ge=0, le=2**31)]
    length: Annotated[int, Field(ge=1, le=MAX_LENGTH)]
    tasks: list[str] | None = None


class _Task(_Line):
    task_index: Annotated[int, Field(ge=0, le=2**31)]
    task: str


class _EpisodeStats(_Line):
    episode_index: Annotated[int, Field(ge=0, le=2**31)]
    stats: dict[str, dict[str, Any]]


def read_episodes(root: Path, info: Mapping[str, Any]) -> tuple[Episodes, list[Fault]]:
    """The episode table, and the lines that cannot be used."""
    rows, faults = _read(root, EPISODES, _Episode)
    rows.sort(key=lambda row: row.episode_index)
    try:
        for key, template in {"": info["data_path"], **_templates(info)}.items():
            check_template(template, _PLACE, key)
    except ValueError as error:
        faults += [_fault(EPISODES, f"episode {row.episode_index}: {error}") for row in rows]
        rows = []
    index = np.array([row.episode_index for row in rows], np.int64)
    length = np.array([row.length for row in rows], np.int64)
    chunk, ends_s = index // int(info.get("chunks_size", 1000)), length / float(info["fps"])
    episodes = Episodes(
        number=index,
        length=length,
        first_row=length.cumsum() - length,
        data=Files.from_columns(info["data_path"], _PLACE, chunk, index),
        clips={
            key: Clips(
                files=Files.from_columns(template, _PLACE, chunk, index, key),
                start_s=np.zeros(len(rows)),
                end_s=ends_s,
            )
            for key, template in _templates(info).items()
        },
        tasks=pa.array([row.tasks for row in rows], pa.list_(pa.string())),
    )
    return episodes, faults


_PLACE = (("episode_chunk", "chunk_index"), ("episode_index", "file_index"))


def _templates(info: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(info["video_path"]) for key in video_keys(info["features"])}


def read_tasks(root: Path) -> tuple[str, ...]:
    """The instructions, in the order of their numbers. Raises KinemaError naming file and fault."""
    rows, faults = _read(root, TASKS, _Task)
    if faults:
        raise KinemaError(faults[0].detail)
    tasks = {row.task_index: row.task for row in rows}
    if sorted(tasks) != list(range(len(tasks))):
        raise KinemaError(
            f"{root / TASKS}: task numbers must be 0 … {len(tasks) - 1}; got {sorted(tasks)[:20]}"
        )
    return tuple(tasks[i] for i in range(len(tasks)))


def read_episode_stats(root: Path) -> tuple[dict[int, dict[str, dict[str, Any]]], list[Fault]]:
    """The statistics of each episode (v2.1), by its number."""
    rows, faults = _read(root, EPISODE_STATS, _EpisodeStats)
    return {row.episode_index: row.stats for row in rows}, faults


L = TypeVar("L", bound=_Line)


def _read(root: Path, name: str, model: type[L]) -> tuple[list[L], list[Fault]]:
    rows, faults = [], []
    path = str(root / name)
    try:
        for number, line in _lines(root / name):
            where = f"{path}, line {number}"
            try:
                rows.append(checked(model, parse_json(line, where), where))
            except KinemaError as error:
                faults.append(_fault(name, str(error)))
    except KinemaError as error:
        kind = Kind.UNREADABLE if (root / name).is_file() else Kind.MISSING
        faults.append(Fault(kind=kind, where=name, detail=str(error), repairable=False))
    return rows, faults


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, line


def _fault(where: str, detail: str) -> Fault:
    return Fault(kind=Kind.METADATA, where=where, detail=detail, repairable=False)
