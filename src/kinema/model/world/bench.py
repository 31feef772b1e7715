"""Speed of imagining: one two-view film from first pictures and a sentence, all of it, by Euler steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kinema.card.load import load_card
from kinema.model.world import artifact as world_artifact

LIMIT_S, FEW_STEP_LIMIT_S = 10.0, 3.0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds of the clock and of the processor, medians."""

    steps: int
    frames: int
    views: int
    wall_s: float
    cpu_s: float


def measure_speed(
    folder: Path, *, card_name: str, steps: tuple[int, ...], threads: int, rounds: int
) -> list[Speed]:
    """How long a film takes for each number of steps, on made-up pictures."""
    torch.set_num_threads(threads)
    world = world_artifact.load(folder)
    card, rng = load_card(card_name), np.random.default_rng(0)
    side = world.clips.size
    images = {name: rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for name in card.camera_names[:2]}
    found = []
    for count in steps:
        walls, cpus = [], []
        for _ in range(rounds + 1):
            wall, cpu = time.perf_counter(), time.process_time()
            film = world.imagine(images, "put the red block in the blue bowl", card_name, steps=count)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        found.append(
            Speed(
                steps=count,
                frames=len(film.frames),
                views=len(film.cameras),
                wall_s=float(np.median(walls[1:])),  # the first one warms up
                cpu_s=float(np.median(cpus[1:])),
            )
        )
    return found
