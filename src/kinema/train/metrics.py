"""Means over the steps between two logs: to the terminal, and to whatever tracks the run."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import fmean

from tqdm import tqdm

from kinema.train.trackers import Tracker


class Metrics:
    """Averages what steps tell between writes; shows rate and time left."""

    def __init__(self, total: int, trackers: Sequence[Tracker] = ()) -> None:
        self._trackers = trackers
        # steps unknown ahead when time is the budget, so the bar counts thousandths of the run
        self._bar = tqdm(total=1000, unit="‰", desc="train", mininterval=2.0)
        self._begin()

    def _begin(self) -> None:
        self._told: dict[str, list[float]] = defaultdict(list)
        self._steps, self._samples, self._waited_s, self._since = 0, 0, 0.0, time.perf_counter()

    def step(self, told: Mapping[str, float], progress: float, *, len_batch: int, waited_s: float) -> None:
        """One step. told: curves by name, without the numbers that are not finite; these have no mean."""
        for name, value in told.items():
            if isfinite(value):
                self._told[name].append(value)
        self._steps += 1
        self._samples += len_batch
        self._waited_s += waited_s
        self._bar.update(min(1000, int(progress * 1000)) - self._bar.n)

    def write(self, step: int, rates: Mapping[str, float]) -> None:
        """rates: the learning rates of the last step, by name"""
        seconds = time.perf_counter() - self._since
        scalars = {name: fmean(values) for name, values in self._told.items()}
        scalars |= {f"lr/{name}": rate for name, rate in rates.items()}
        scalars |= {
            "rate/samples_per_s": self._samples / seconds,
            "rate/data_wait_fraction": self._waited_s / seconds,
            "optim/skipped_steps": self._steps - len(self._told["optim/grad_norm"]),
        }
        self.scalars(step, scalars)
        shown = {k.removeprefix("loss/"): f"{v:.4f}" for k, v in scalars.items() if k.startswith("loss/")}
        rate = f"{scalars['rate/samples_per_s']:.0f}/s"
        self._bar.set_postfix({"step": step, **shown, "rate": rate})
        self._begin()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """To every tracker."""
        for tracker in self._trackers:
            tracker.log(step, values)

    def say(self, sentence: str) -> None:
        """A line on stderr, above the bar."""
        self._bar.write(f"kinema: {sentence}", file=sys.stderr)

    def close(self) -> None:
        self._bar.close()
