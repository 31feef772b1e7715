"""How fast trajectories are planned: frames per second of one core."""

from __future__ import annotations

import time

from kinema.card.card import EmbodimentCard
from kinema.worlds.planner.plan import plan

_AT_A_TIME = 500  # trajectories


def measure_frames_per_s(card: EmbodimentCard, seconds: float) -> float:
    """Frames per second of processor time; so many seconds are spent, whatever else runs on the machine."""
    frames, seed, begin = 0, 0, time.process_time()
    while not frames or time.process_time() - begin < seconds:
        frames += len(plan(card, _AT_A_TIME, seed).joints)
        seed += 1
    return frames / (time.process_time() - begin)
