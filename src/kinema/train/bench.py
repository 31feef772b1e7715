"""Speed and memory of training, measured on the real loop."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.model.policy import presets
from kinema.model.policy.stock import over_stock
from kinema.train.loop import LoopConfig
from kinema.train.parallel import Group, in_processes
from kinema.train.recipe import Options, Recipe
from kinema.train.run import Run
from kinema.train.stages.policy import PolicyStage

_WARM_UP = 4
_PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


@dataclass(frozen=True, kw_only=True)
class TrainingSpeed:
    """Whole steps of the real loop (draw, augment, forward, backward, optimiser) of nano, two 96 px views.

    over_stock: how many times faster our backbone's forward and backward is than transformers' own.
    """

    samples_per_s: float
    of_limit: float  # of 200 samples/s
    peak_gb: float  # of one process, plus that of the others
    over_stock: float
    processes: int
    threads: int
    batch_size: int


def measure_training(
    *, processes: int = 2, threads: int = 1, batch_size: int = 128, steps: int = 40
) -> TrainingSpeed:
    """Measure on made-up demonstrations of the Panda, after a few steps to warm up."""
    source = fake_source(load_card("panda"), image_size=96)
    recipe = Recipe(
        name="bench", summary="", data_command="", batch_size=batch_size,
        stage=partial(PolicyStage, policy=presets.nano, sources=lambda data, pictures: [source]),
        loop=LoopConfig(steps=_WARM_UP + steps),
    )  # fmt: skip

    def train(group: Group, whole: Run) -> float:
        loop = whole.begin(group)
        loop.run(until=_WARM_UP)
        begin = time.perf_counter()
        loop.run()
        return steps * batch_size / (time.perf_counter() - begin)

    with TemporaryDirectory() as folder:
        whole = Run(recipe, Path(), Path(folder), Options(processes=processes, threads=threads))
        rate = in_processes(processes, threads, lambda group: train(group, whole))
        peaks_gb = [resource.getrusage(who).ru_maxrss / 2**20 for who in _PROCESSES]
    return TrainingSpeed(
        samples_per_s=rate,
        of_limit=rate / 200,
        peak_gb=peaks_gb[0] + (processes - 1) * peaks_gb[1],
        over_stock=over_stock(batch_size // processes, 10.0),
        processes=processes,
        threads=threads,
        batch_size=batch_size,
    )
