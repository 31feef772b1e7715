"""How fast ALOHA runs, with its picture and without: python -m kinema.bench.aloha.speed"""

from __future__ import annotations

import numpy as np

from kinema.bench.aloha.benchmark import AS_SHIPPED, RENDERING, AlohaEnv, Rendering
from kinema.bench.speed import steps_per_s


def measure_steps_per_s(task: str, seconds: float, rendering: Rendering, *, draw: bool) -> float:
    """Control steps per second of processor time while the arms stay where they are."""
    env = AlohaEnv(task, 400, rendering)
    rate = steps_per_s(env, env.state().astype(np.float64), seconds, draw=draw)
    env.close()
    return rate


if __name__ == "__main__":
    for shown, draw in ((AS_SHIPPED, True), (RENDERING, True), (RENDERING, False)):
        rate = measure_steps_per_s("insertion", 5.0, shown, draw=draw)
        print(f"{f'{shown.width_px} x {shown.height_px} px' if draw else 'no picture'}: {rate:.1f} steps/s")
