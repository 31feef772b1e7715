"""How fast ALOHA runs, with its picture and without: python -m kinema.bench.aloha.speed"""

from __future__ import annotations

import time

import numpy as np

from kinema.bench.aloha.benchmark import AS_SHIPPED, RENDERING, AlohaEnv, Rendering


def measure_steps_per_s(task: str, seconds: float, rendering: Rendering, *, draw: bool) -> float:
    """Control steps per second of processor time while the arms stay where they are."""
    env = AlohaEnv(task, 400, rendering)
    env.observe(draw)  # the first picture prepares the others
    action = env.state().astype(np.float64)
    steps, began_s = 0, time.process_time()
    while time.process_time() - began_s < seconds:
        env.step(action)
        env.observe(draw)
        steps += 1
    env.close()
    return steps / (time.process_time() - began_s)


if __name__ == "__main__":
    for shown, draw in ((AS_SHIPPED, True), (RENDERING, True), (RENDERING, False)):
        rate = measure_steps_per_s("insertion", 5.0, shown, draw=draw)
        print(f"{f'{shown.width_px} x {shown.height_px} px' if draw else 'no picture'}: {rate:.1f} steps/s")
