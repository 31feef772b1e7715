"""Statistics of a data set on disk: of all of it (meta/stats.json) and of each episode (meta/episodes)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kinema.data import schema_v30 as v30
from kinema.data.columns import read_table, write_table
from kinema.data.info import read_json
from kinema.data.journal import HIDDEN, Transaction, WriterLock, disk_errors
from kinema.data.lerobot import Dataset
from kinema.data.metadata import STATS, camera_keys
from kinema.data.statistics import Accumulator, ImageAccumulator, Statistics
from kinema.schema import KinemaError

PICTURES_PER_EPISODE = 100  # evenly spaced, for the statistics of pictures
IMAGE_COUNTS = f"{HIDDEN}/image_counts.json"  # colour histograms, so that resuming needs no decoding

Accumulators = dict[str, Accumulator | ImageAccumulator]


def spread(length: int) -> np.ndarray:
    """Which of an episode's pictures its statistics are taken from."""
    return np.unique(np.linspace(0, length - 1, PICTURES_PER_EPISODE).round().astype(int))


def measure(dataset: Dataset) -> dict[str, Statistics]:
    """Statistics by feature of the whole data set, pictures included (with a progress bar)."""
    running = _accumulators(dataset)
    for _ in _episodes(dataset, running):
        pass
    return _results(running, dataset.num_frames)


def write_statistics(root: Path) -> dict[str, Statistics]:
    """Measure the v3.0 data set at `root` and write its statistics, as one change. Returns them.

    What is not measured (texts, distances) keeps the statistics it had, and every other column of
    meta/episodes stays as it is.
    """
    lock = WriterLock(root)
    try:
        dataset = Dataset.open(root)
        if dataset.metadata.version != v30.VERSION:
            raise KinemaError(
                f"{root} is {dataset.metadata.version}; statistics are written for {v30.VERSION} only"
            )
        with disk_errors(f"the statistics of {root} could not be written"):
            change = Transaction(root)
            try:
                statistics = stage_statistics(dataset, change)
                change.commit()
            except BaseException:
                change.abandon()
                raise
    finally:
        lock.release()
    return statistics


def stage_statistics(dataset: Dataset, change: Transaction) -> dict[str, Statistics]:
    """Measure a data set and add its statistics to a change. Returns them."""
    running = _accumulators(dataset)
    per_episode = list(_episodes(dataset, running))
    statistics = _results(running, dataset.num_frames)
    stated: dict[str, Any] = {}
    if (dataset.root / STATS).is_file():
        try:
            stated = read_json(dataset.root / STATS)
        except KinemaError:
            stated = {}  # damaged: it is what is being mended
    features = dataset.metadata.features
    stated = {name: value for name, value in stated.items() if name in features}
    counts = {n: a.state() for n, a in running.items() if isinstance(a, ImageAccumulator)}
    for path in v30.episode_files(dataset.root):
        table = read_table(path)
        mine = [per_episode[number] for number in table["episode_index"].to_pylist()]
        write_table(v30.with_statistics(table, mine), change.path(str(path.relative_to(dataset.root))))
    change.path(STATS).write_text(json.dumps(stated | statistics, indent=4))
    change.path(IMAGE_COUNTS).write_text(json.dumps(counts))
    return statistics


def _accumulators(dataset: Dataset) -> Accumulators:
    found: Accumulators = {}
    for key in camera_keys(dataset.metadata.features):
        if not dataset.is_depth(key):
            found[key] = ImageAccumulator()
    for name in dataset.own_columns():
        found[name] = Accumulator(_channels(dataset, name))
    return found


def _channels(dataset: Dataset, name: str) -> int:
    """A feature of several axes is measured along its last one, as lerobot does."""
    shape = dataset.metadata.features[name]["shape"]
    return int(shape[-1]) if shape else 1


def _episodes(dataset: Dataset, running: Accumulators) -> Iterator[dict[str, Statistics]]:
    """Statistics of one episode after the other; `running` takes them all in."""
    if not dataset.num_frames:
        raise KinemaError(f"{dataset.root} holds no frame; there is nothing to measure")
    columns = {name: dataset.column(name) for name in dataset.own_columns()}
    for first, end in tqdm(dataset.episode_bounds, desc="statistics", unit="episode", leave=False):
        own = _accumulators(dataset)
        for name in own:
            if name in columns:
                values = columns[name][first:end].reshape(-1, _channels(dataset, name))
            else:
                values = dataset.frames(name, first + spread(int(end - first)))
                if values.dtype != np.uint8:
                    raise KinemaError(
                        f"{dataset.root}: camera {name} holds distances, info.json says colours"
                    )
            own[name].add(values)
            running[name].add(values)
        yield _results(own, int(end - first))


def _results(accumulators: Accumulators, frames: int) -> dict[str, Statistics]:
    """What was measured in so many frames, as lerobot counts them."""
    counted = {name: [frames] for name, a in accumulators.items() if isinstance(a, Accumulator)}
    return {
        name: accumulator.result() | ({"count": counted[name]} if name in counted else {})
        for name, accumulator in accumulators.items()
    }
