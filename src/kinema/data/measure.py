"""Statistics of a data set on disk: of all of it (meta/stats.json) and of each episode (meta/episodes)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from kinema.data import schema_v30 as v30
from kinema.data.journal import HIDDEN, Transaction, WriterLock, disk_errors
from kinema.data.lerobot import Dataset
from kinema.data.metadata import STATS, vector_keys
from kinema.data.statistics import Accumulator, ImageAccumulator, Statistics
from kinema.schema import KinemaError

PICTURES_PER_EPISODE = 100  # evenly spaced, for the statistics of pictures
IMAGE_COUNTS = f"{HIDDEN}/image_counts.json"  # colour histograms, so that resuming needs no decoding


def spread(length: int) -> np.ndarray:
    """Which of an episode's pictures its statistics are taken from."""
    return np.unique(np.linspace(0, length - 1, PICTURES_PER_EPISODE).round().astype(int))


def measure(dataset: Dataset) -> dict[str, Statistics]:
    """Statistics by feature of the whole data set, pictures included (with a progress bar)."""
    running = _accumulators(dataset)
    for _ in _episodes(dataset, running):
        pass
    return {name: accumulator.result() for name, accumulator in running.items()}


def write_statistics(root: Path) -> dict[str, Statistics]:
    """Measure the v3.0 data set at `root` and write its statistics, as one change. Returns them."""
    dataset = Dataset.open(root)
    if dataset.metadata.version != v30.VERSION:
        raise KinemaError(
            f"{root} is {dataset.metadata.version}; statistics are written for {v30.VERSION} only"
        )
    running = _accumulators(dataset)
    per_episode = list(_episodes(dataset, running))
    statistics = {name: accumulator.result() for name, accumulator in running.items()}
    lock = WriterLock(root)
    with disk_errors(f"the statistics of {root} could not be written"):
        change = Transaction(root)
        try:
            change.path(STATS).write_text(json.dumps(statistics, indent=4))
            counts = {n: a.state() for n, a in running.items() if isinstance(a, ImageAccumulator)}
            change.path(IMAGE_COUNTS).write_text(json.dumps(counts))
            _stage_episode_statistics(root, change, per_episode)
            change.commit()
        except BaseException:
            change.abandon()
            raise
        finally:
            lock.release()
    return statistics


def _accumulators(dataset: Dataset) -> dict[str, Accumulator | ImageAccumulator]:
    features = dataset.metadata.features
    vectors = {name: Accumulator(dataset.column(name).shape[1]) for name in vector_keys(features)}
    return {**{key: ImageAccumulator() for key in dataset.metadata.camera_keys}, **vectors}


def _episodes(
    dataset: Dataset, running: dict[str, Accumulator | ImageAccumulator]
) -> Iterator[dict[str, Statistics]]:
    """Statistics of one episode after the other; `running` takes them all in."""
    for first, end in tqdm(dataset.episode_bounds, desc="statistics", unit="episode", leave=False):
        own = _accumulators(dataset)
        for name in own:
            if name in dataset.metadata.camera_keys:
                values = dataset.frames(name, first + spread(int(end - first)))
            else:
                values = dataset.column(name)[first:end]
            own[name].add(values)
            running[name].add(values)
        yield {name: accumulator.result() for name, accumulator in own.items()}


def _stage_episode_statistics(
    root: Path, change: Transaction, per_episode: list[dict[str, Statistics]]
) -> None:
    for path in sorted((root / "meta/episodes").glob("*/*.parquet")):
        rows: list[dict[str, Any]] = v30.read_table(path).to_pylist()
        plain = [{k: v for k, v in row.items() if not k.startswith("stats/")} for row in rows]
        full = [row | v30.flat_statistics(per_episode[row["episode_index"]]) for row in plain]
        pq.write_table(v30.episode_table(full), change.path(str(path.relative_to(root))))
