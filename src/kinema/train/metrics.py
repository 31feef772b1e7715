"""Progress on the terminal and scalars for TensorBoard."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from statistics import fmean

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm


class Metrics:
    """Averages losses between writes; shows rate and time left."""

    def __init__(self, out: Path, total: int) -> None:
        self._writer = SummaryWriter(str(out / "tensorboard"))
        # steps unknown ahead when time is the budget, so the bar counts thousandths of the run
        self._bar = tqdm(total=1000, unit="‰", desc="train", mininterval=2.0)
        self._sums: dict[str, float] = {}
        self._grad_norms: list[float] = []
        self._steps, self._samples, self._waited_s, self._since = 0, 0, 0.0, time.perf_counter()

    def step(
        self, losses: Mapping[str, float], progress: float, *, grad_norm: float, len_batch: int,
        waited_s: float,
    ) -> None:  # fmt: skip
        """One step. grad_norm: before clipping; one that is not finite counts as a step that was skipped."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        if isfinite(grad_norm):
            self._grad_norms.append(grad_norm)
        self._steps += 1
        self._samples += len_batch
        self._waited_s += waited_s
        self._bar.update(min(1000, int(progress * 1000)) - self._bar.n)

    def write(self, step: int, lr_fraction: float) -> None:
        seconds = time.perf_counter() - self._since
        scalars = {f"loss/{k}": v / self._steps for k, v in self._sums.items()}
        scalars |= {
            "rate/samples_per_s": self._samples / seconds,
            "rate/data_wait_fraction": self._waited_s / seconds,
            "optim/lr_fraction": lr_fraction,
            "optim/skipped_steps": self._steps - len(self._grad_norms),
        }
        if self._grad_norms:
            scalars["optim/grad_norm"] = fmean(self._grad_norms)
        self.scalars(step, scalars)
        shown = {k.removeprefix("loss/"): f"{v:.4f}" for k, v in scalars.items() if k.startswith("loss/")}
        rate = f"{scalars['rate/samples_per_s']:.0f}/s"
        self._bar.set_postfix({"step": step, **shown, "rate": rate})
        self._sums, self._steps, self._samples, self._waited_s = {}, 0, 0, 0.0
        self._grad_norms = []
        self._since = time.perf_counter()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def say(self, sentence: str) -> None:
        """A line on stderr, above the bar."""
        self._bar.write(f"kinema: {sentence}", file=sys.stderr)

    def close(self) -> None:
        self._bar.close()
        self._writer.close()
