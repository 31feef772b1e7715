"""Everything a v3.0 data set has on disk, read file by file, so that one bad file hides no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from kinema.data import schema_v30 as v30
from kinema.data.metadata import Clip, EpisodeRecord, camera_keys, vector_keys
from kinema.data.video import Stream, decode_all, probe
from kinema.schema import KinemaError


@dataclass(kw_only=True)
class Scan:
    """What could be read, and for each file that could not, why (`errors`, by path below the root)."""

    root: Path
    info: Mapping[str, Any]
    records: list[EpisodeRecord] = field(default_factory=list)  # as meta/episodes has them, in file order
    tables: dict[str, pa.Table] = field(default_factory=dict)  # data files
    rows: dict[str, dict[int, pa.Table]] = field(default_factory=dict)  # of each episode in a data file
    videos: dict[str, Stream] = field(default_factory=dict)
    tasks: tuple[str, ...] | None = None
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        return float(self.info["fps"])

    @property
    def video_keys(self) -> list[str]:
        features = self.info["features"]
        return [key for key in camera_keys(features) if features[key]["dtype"] == "video"]

    def rows_of(self, record: EpisodeRecord) -> pa.Table | None:
        """The rows of an episode in its data file; None when the file cannot be read."""
        if record.data_path not in self.tables:
            return None
        empty = self.tables[record.data_path].slice(0, 0)
        return self.rows[record.data_path].get(record.index, empty)

    def frames_in(self, clip: Clip, length: int) -> int:
        """How many of the episode's frames its video really has at their times."""
        stream = self.videos.get(clip.path)
        if stream is None:
            return 0
        wanted = clip.start_s + np.arange(length) / self.fps
        if not len(stream.times_s):
            return 0
        after = np.searchsorted(stream.times_s, wanted).clip(1, max(len(stream.times_s) - 1, 1))
        nearest = np.minimum(
            abs(stream.times_s[after - 1] - wanted),
            abs(stream.times_s[np.minimum(after, len(stream.times_s) - 1)] - wanted),
        )
        return int((nearest < 0.1 / self.fps).sum())


def split_by_episode(table: pa.Table) -> dict[int, pa.Table]:
    """The rows of each episode, in the order in which the episodes begin in the file."""
    numbers = v30.column_values(table, "episode_index")[:, 0]
    edges = np.flatnonzero(np.diff(numbers)) + 1
    starts = np.concatenate([[0], edges]) if len(numbers) else edges
    parts: dict[int, list[pa.Table]] = {}
    for start, end in zip(starts, [*edges, len(numbers)]):
        parts.setdefault(int(numbers[start]), []).append(table.slice(start, end - start))
    return {number: pa.concat_tables(pieces) for number, pieces in parts.items()}


def scan(root: Path, info: Mapping[str, Any], *, decode: bool) -> Scan:
    """Read all files of the v3.0 data set at `root`; with `decode`, every picture too."""
    found = Scan(root=root, info=info)
    _read_episodes(found)
    try:
        found.tasks = v30.read_tasks(root)
    except KinemaError as error:
        found.errors[v30.TASKS] = str(error)
    names = list(vector_keys(info["features"]))
    on_disk = {str(path.relative_to(root)) for path in root.glob("data/*/*.parquet")}
    for path in sorted(on_disk | {record.data_path for record in found.records}):
        try:
            found.tables[path] = v30.read_table(root / path, names)
            found.rows[path] = split_by_episode(found.tables[path])
        except KinemaError as error:
            found.errors[path] = str(error)
    _read_videos(found, decode)
    return found


def _read_videos(found: Scan, decode: bool) -> None:
    paths = {str(path.relative_to(found.root)) for path in found.root.glob("videos/*/*/*.mp4")}
    paths |= {clip.path for record in found.records for clip in record.clips.values()}
    for path in sorted(paths):
        try:
            found.videos[path] = probe(found.root / path)
        except KinemaError as error:
            found.errors[path] = str(error)
    total = sum(len(stream.times_s) for stream in found.videos.values())
    with tqdm(desc="decoding", unit="picture", total=total, leave=False, disable=not decode) as bar:
        for path in list(found.videos) if decode else ():
            try:
                decode_all(found.root / path, bar.update)
            except KinemaError as error:
                found.errors[path] = str(error)


def _read_episodes(found: Scan) -> None:
    paths = sorted((found.root / "meta/episodes").glob("*/*.parquet"))
    if not paths:
        found.errors["meta/episodes"] = f"{found.root}/meta/episodes holds no parquet file"
    for path in paths:
        try:
            rows = v30.read_episode_file(path, found.info["features"])
            found.records += [v30.episode_record(row, found.info) for row in rows]
        except KinemaError as error:
            found.errors[str(path.relative_to(found.root))] = str(error)
