"""How fast pictures reach training: from the frame cache and by decoding videos, in one run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kinema.data.frames import FrameCache, resize
from kinema.data.lerobot import Dataset


def measure_loading(
    dataset_root: Path,
    *,
    size: int = 96,
    batch: int = 64,
    horizon: int = 16,
    seconds: float = 3.0,
    seed: int = 0,
) -> dict[str, float]:
    """Samples per second in random order, one process; a sample is all cameras, the state and a chunk.

    Returns: `cache` and `decode` [samples/s], their ratio `cache_over_decode`, `build` [frames/s] of building
    the cache in a temporary folder, and `cache_mb_per_1000`, megabytes of cache per 1000 frames.
    """
    dataset = Dataset.open(dataset_root)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        cache = FrameCache(dataset, size=size, directory=Path(folder))
        build = dataset.num_frames / (time.perf_counter() - begin)

        def decode(indices: np.ndarray) -> np.ndarray:
            return np.stack([resize(dataset.frames(c, indices), size) for c in dataset.camera_names], 1)

        rates = {
            name: _samples_per_s(dataset, pictures, rng, batch, horizon, seconds)
            for name, pictures in (("cache", cache.__getitem__), ("decode", decode))
        }
    size_mb = len(dataset.camera_names) * size * size * 3 / 1e3
    return rates | {
        "cache_over_decode": rates["cache"] / rates["decode"],
        "build": build,
        "cache_mb_per_1000": size_mb,
    }


def _samples_per_s(
    dataset: Dataset,
    pictures: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    batch: int,
    horizon: int,
    seconds: float,
) -> float:
    """Whole batches until the time is over; the first one warms up and does not count."""
    samples, begin = 0, 0.0
    while not samples or time.perf_counter() - begin < seconds:
        starts = rng.integers(0, dataset.num_frames, batch)
        indices, _ = dataset.window(starts, horizon)
        loaded = pictures(starts), dataset.state[starts], dataset.action[indices]
        assert len(loaded[0]) == batch
        if not begin:
            begin = time.perf_counter()
            continue
        samples += batch
    return samples / (time.perf_counter() - begin)
