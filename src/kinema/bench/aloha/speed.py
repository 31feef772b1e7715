"""How fast ALOHA runs, by look and without its picture: python -m kinema.bench.aloha.speed"""

from __future__ import annotations

import numpy as np

from kinema.bench.aloha.benchmark import AlohaBenchmark
from kinema.bench.drawing import LOOKS
from kinema.bench.speed import steps_per_s


def measure_steps_per_s(
    task: str, seconds: float, *, look: str, whole: bool = False, draw: bool = True
) -> float:
    """Control steps per second of processor time while the arms stay where they are."""
    env = AlohaBenchmark(whole=whole, look=look).make(f"act/{task}")
    rate = steps_per_s(env, env.state().astype(np.float64), seconds, draw=draw)
    env.close()
    return rate


if __name__ == "__main__":
    task, seconds = "insertion", 5.0
    for look in LOOKS:
        for whole in (True, False):
            rate = measure_steps_per_s(task, seconds, look=look, whole=whole)
            print(f"{look}, {'640 x 480' if whole else '128'} px: {rate:.1f} steps/s")
    print(f"no picture: {measure_steps_per_s(task, seconds, look='shipped', draw=False):.1f} steps/s")
