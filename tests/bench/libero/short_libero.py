"""LIBERO with episodes of a few steps."""

from __future__ import annotations

from kinema.bench.libero.benchmark import LiberoBenchmark, LiberoEnv

STEPS = 12


class ShortLibero(LiberoBenchmark):
    def make(self, task: str) -> LiberoEnv:
        env = super().make(task)
        env.max_steps = STEPS
        return env
