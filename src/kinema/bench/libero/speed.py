"""How fast LIBERO runs: control steps per second of one core, with its pictures and without."""

from __future__ import annotations

import time

import numpy as np

from kinema.bench.libero.benchmark import LiberoBenchmark


def measure_steps_per_s(task: str, seconds: float, *, look: str, size_px: int, draw: bool = True) -> float:
    """Control steps per second of processor time, the simulator's and ours, while the arm stays where it is.

    `seconds` of processor time are spent, whatever else runs on the machine.
    """
    env = LiberoBenchmark((task.partition("/")[0],), size_px=size_px, look=look).make(task)
    env.reset_to(0, 0)
    env.observe(draw)  # the first picture prepares the others
    steps, began_s = 0, env.processor_s() + time.process_time()
    spent_s = 0.0
    while spent_s < seconds:
        env.step(np.zeros(7))
        env.observe(draw)
        steps += 1
        spent_s = env.processor_s() + time.process_time() - began_s
    env.close()
    return steps / spent_s
