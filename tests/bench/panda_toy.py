"""A benchmark for any policy of the Panda that worker processes can import: nothing moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kinema.bench.benchmark import TaskSpec
from kinema.card.load import load_card
from kinema.schema import Observation


class Still:
    max_steps = 3
    instruction = "put the red block in the blue bowl"

    def __init__(self) -> None:
        self.card = load_card("panda")
        self.actions: list[np.ndarray] = []

    def reset(self, seed: int) -> None:
        self.actions = []

    def observe(self, render: bool = True) -> Observation:
        names = self.card.camera_names if render else ()
        low, high = np.array([channel.range for channel in self.card.states]).T
        return Observation(
            images={name: np.zeros((64, 64, 3), np.uint8) for name in names},
            state=((low + high) / 2).astype(np.float32),
            instruction=self.instruction,
            time_s=len(self.actions) / self.card.control_hz,
        )

    def step(self, action: np.ndarray) -> None:
        self.actions.append(action)

    def success(self) -> bool:
        return False

    def measures(self) -> Mapping[str, float]:
        return {f"action_{i}": float(value) for i, value in enumerate(self.actions[-1])}

    def close(self) -> None:
        pass


class StillBenchmark:
    name = "still"

    def tasks(self) -> tuple[TaskSpec, ...]:
        return (TaskSpec(name="panda/still", card="panda", control_hz=10, groups={"body": "panda"}),)

    def make(self, task: str) -> Still:
        return Still()

    def provenance(self) -> dict[str, Any]:
        return {}
