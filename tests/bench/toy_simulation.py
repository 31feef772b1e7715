"""What lives at the other end of a simulator's socket in tests, and a benchmark of such worlds."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from kinema.bench.benchmark import TaskSpec
from kinema.bench.simulator import SimulatorProcess
from kinema.schema import KinemaError, Observation


class ToySimulation:
    def same(self, value: Any) -> Any:
        print("what it prints is no answer")
        return value

    def pid(self) -> int:
        return os.getpid()

    def fail(self, ours: bool) -> None:
        raise KinemaError("not like this") if ours else ZeroDivisionError("the toy broke")

    def die(self) -> None:
        print("the last that was heard of it", file=sys.stderr, flush=True)
        os._exit(7)


class ToyWorld:
    """Solved by three steps; the second start is deadly."""

    max_steps = 5
    instruction = "go on"

    def __init__(self) -> None:
        self._simulator = SimulatorProcess(Path(sys.executable), "toy_simulation:ToySimulation")

    def reset(self, seed: int) -> None:
        raise AssertionError("a benchmark with numbered starts is asked for a number")

    def reset_to(self, index: int, seed: int) -> None:
        self._index, self._steps = index, 0

    def observe(self, render: bool = True) -> Observation:
        images = {"front": np.zeros((32, 32, 3), np.uint8)} if render else {}
        return Observation(
            images=images, state=np.zeros(4, np.float32), instruction=self.instruction, time_s=0.0
        )

    def step(self, action: np.ndarray) -> None:
        self._steps = self._simulator.call("same", value=self._steps + 1)
        if self._index == 1:
            self._simulator.call("die")

    def success(self) -> bool:
        return self._steps == 3

    def measures(self) -> dict[str, float]:
        return {"index": self._index, "process": self._simulator.call("pid")}

    def close(self) -> None:
        self._simulator.close()


class ToyBenchmark:
    name = "toy"

    def tasks(self) -> tuple[TaskSpec, ...]:
        return (TaskSpec(name="a", card="sawyer_metaworld", control_hz=10, groups={"kind": "a"}),)

    def make(self, task: str) -> ToyWorld:
        return ToyWorld()

    def provenance(self) -> dict[str, Any]:
        return {}
