"""How fast samples reach training: from the cache and by decoding, with and without workers, in one run."""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.frames import Decoded, FrameCache, Images
from kinema.data.index import Index
from kinema.data.loader import Loader
from kinema.data.metadata import ACTION, STATE
from kinema.data.numbers import Numbers
from kinema.data.order import Order
from kinema.schema import KinemaError


def measure_loading(
    dataset_root: Path,
    *,
    size: int = 96,
    batch: int = 64,
    horizon: int = 16,
    seconds: float = 3.0,
    workers: int = 2,
    seed: int = 0,
) -> dict[str, float]:
    """Samples per second in random order; a sample is all cameras, the state and a chunk.

    Returns: `cache`, `new` and `decode` [samples/s] in one process, from a full cache, from one that is
    empty at first, and without; `cache_workers`, `new_workers` and `decode_workers` with so many more;
    `cache_over_decode`, `open` [s] of opening the set, `build` [frames/s] of filling a cache at once in a
    temporary folder, `cache_mb_per_1000`, megabytes of cache per 1000 frames, and `peak_gb` of memory that
    this process held.
    """
    begin = time.perf_counter()
    index = Index.open(dataset_root)
    found = {"open": time.perf_counter() - begin}
    order = Order(np.ones(1), np.array([index.num_frames]), seed)
    with tempfile.TemporaryDirectory() as folder:
        numbers = Numbers(index, [STATE, ACTION], Path(folder))

        def cache(name: str) -> FrameCache:
            return FrameCache(index, size=size, directory=Path(folder) / name)

        full = cache("full")
        begin = time.perf_counter()
        full.fill(np.arange(index.num_frames))
        found["build"] = index.num_frames / (time.perf_counter() - begin)
        ways: dict[str, tuple[Images, Images]] = {
            "cache": (full, full),
            "new": (cache("new"), cache("new_workers")),
            "decode": (Decoded(index, size=size, cameras=index.camera_names),) * 2,
        }
        for way, (alone, shared) in ways.items():
            for name, images, count in ((way, alone, 0), (f"{way}_workers", shared, workers)):
                make = _Samples(index, numbers, images, order, batch, horizon)
                found[name] = _per_s(make, batch, seconds, count)
    return found | {
        "cache_over_decode": found["cache"] / found["decode"],
        "cache_mb_per_1000": len(index.camera_names) * size * size * 3 / 1e3,
        "peak_gb": _peak_gb(),
    }


class _Samples:
    """Batches by number: all that a training step reads of a data set."""

    def __init__(
        self, index: Index, numbers: Numbers, images: Images, order: Order, batch: int, horizon: int
    ) -> None:
        self._index, self._numbers, self._images, self._order = index, numbers, images, order
        self._batch, self._horizon = batch, horizon

    def __call__(self, number: int) -> tuple[np.ndarray, ...]:
        _, steps = self._order[number * self._batch + np.arange(self._batch)]
        last = self._index.episode_bounds[self._index.episode_of(steps), 1] - 1
        chunk = np.minimum(steps[:, None] + np.arange(self._horizon), last[:, None])
        return self._images(steps), self._numbers[STATE][steps], self._numbers[ACTION][chunk]


def _per_s(make: Callable[[int], Any], batch: int, seconds: float, workers: int) -> float:
    """Whole batches until the time is over; the first ones warm up and do not count."""
    loader = Loader(make, workers=workers)
    warm = 1 + 2 * workers
    for number in range(warm):
        loader.take(number)
    begin, number = time.perf_counter(), warm
    while number == warm or time.perf_counter() - begin < seconds:
        loader.take(number)
        number += 1
    rate = batch * (number - warm) / (time.perf_counter() - begin)
    loader.close()
    return rate


def measure_lerobot(
    dataset_root: Path, python: str, *, batch: int = 64, horizon: int = 16, seconds: float = 3.0,
    workers: int = 2,
) -> tuple[dict[str, float], str]:  # fmt: skip
    """The same samples by lerobot's own data set in torch's DataLoader: `lerobot`, `lerobot_workers` [1/s].

    python: an interpreter that has lerobot. Returns the rates and what they are of: lerobot's version and its
    decoder, torchcodec where it loads. Raises KinemaError where it cannot read the set.
    """
    found, what = {}, ""
    for name, count in (("lerobot", 0), ("lerobot_workers", workers)):
        arguments = [str(dataset_root.resolve()), str(batch), str(horizon), str(seconds), str(count)]
        try:
            done = subprocess.run([python, "-c", _PEER_PROGRAM, *arguments], capture_output=True, text=True)
        except OSError as error:
            raise KinemaError(f"{python} cannot be run: {error.strerror}") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise KinemaError(f"lerobot cannot read {dataset_root}: {last}")
        what, _, rate = done.stdout.strip().splitlines()[-1].rpartition(" ")
        found[name] = float(rate)
    return found, what


_PEER_PROGRAM = """
import sys, time
from importlib.metadata import version
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
try:
    from torchcodec.decoders import VideoDecoder
    decoder = "torchcodec"
except Exception:
    decoder = "pyav"
root, batch, horizon, seconds, workers = sys.argv[1], *map(float, sys.argv[2:])
fps = LeRobotDataset("local/set", root=root).fps
chunk = [k / fps for k in range(int(horizon))]
dataset = LeRobotDataset(
    "local/set", root=root, delta_timestamps={"action": chunk}, video_backend=decoder
)
loader = torch.utils.data.DataLoader(
    dataset, batch_size=int(batch), shuffle=True, num_workers=int(workers), drop_last=True
)
def batches():
    while True:
        yield from loader
stream, warm = batches(), 1 + 2 * int(workers)
for _ in range(warm):
    next(stream)
begin, count = time.perf_counter(), 0
while not count or time.perf_counter() - begin < seconds:
    next(stream)
    count += 1
print("lerobot", version("lerobot"), "with", decoder, count * batch / (time.perf_counter() - begin))
"""


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
