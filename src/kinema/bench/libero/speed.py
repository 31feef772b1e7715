"""How fast LIBERO runs: control steps per second of one core, with its pictures and without."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from kinema.bench.drawing import LOOKS
from kinema.bench.libero.benchmark import LiberoBenchmark, LiberoEnv
from kinema.bench.speed import steps_per_s

WITHOUT = "no pictures"


def measure_steps_per_s(tasks: Sequence[str], seconds: float, *, size_px: int) -> dict[str, dict[str, float]]:
    """Control steps per second of processor time by task and look, while the arm stays where it is.

    The simulator's time and ours count, `seconds` of it for each number, whatever else runs on the machine.
    """
    rates: dict[str, dict[str, float]] = {task: {} for task in tasks}
    suites = dict.fromkeys(task.partition("/")[0] for task in tasks)
    for look in LOOKS:
        benchmark = LiberoBenchmark(suites, size_px=size_px, look=look)
        for task in tasks:
            env = benchmark.make(task)
            env.reset_to(0, 0)
            rates[task][look] = _steps_per_s(env, seconds, draw=True)
            if WITHOUT not in rates[task]:
                rates[task][WITHOUT] = _steps_per_s(env, seconds, draw=False)
            env.close()
    return rates


def _steps_per_s(env: LiberoEnv, seconds: float, *, draw: bool) -> float:
    def processor_s() -> float:
        return env.processor_s() + time.process_time()

    return steps_per_s(env, np.zeros(7), seconds, draw=draw, processor_s=processor_s)
