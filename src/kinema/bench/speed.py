"""How fast an environment runs: control steps per second of processor time, with pictures and without."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from kinema.bench.benchmark import Environment


def steps_per_s(
    env: Environment,
    action: np.ndarray,
    seconds: float,
    *,
    draw: bool,
    processor_s: Callable[[], float] = time.process_time,
) -> float:
    """Of an environment that was reset, while the body does the same action again and again.

    `seconds` of processor time are spent, whatever else runs on the machine.
    processor_s: what all that takes part has taken so far
    """
    env.observe(draw)  # the first picture prepares the others
    steps, spent_s, began_s = 0, 0.0, processor_s()
    while spent_s < seconds:
        env.step(action)
        env.observe(draw)
        steps += 1
        spent_s = processor_s() - began_s
    return steps / spent_s
