"""A benchmark of a few lines that worker processes can import: a number must be walked above a mark."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kinema.bench.benchmark import TaskSpec
from kinema.schema import ActionChunk, KinemaError, Observation

# environment variables
BROKEN, STILLBORN, TOLD, DOOMED = "TOY_BROKEN", "TOY_STILLBORN", "TOY_TOLD", "TOY_DOOMED"
HANGS = "TOY_HANGS"


class ToyEnv:
    max_steps = 20
    instruction = "walk up"

    def __init__(self, task: str, wait_in: str, spoils: str = "", doom: str = "") -> None:
        self.task, self.wait_in, self.spoils, self.doom = task, wait_in, spoils, doom

    def reset(self, seed: int) -> None:
        if self.wait_in:
            _take_a_place(Path(self.wait_in))
        self.position = float(np.random.default_rng(seed).normal())
        self.steps = 0

    def observe(self, render: bool = True) -> Observation:
        image = np.full((32, 32, 3), int(20 * abs(self.position)) % 256, np.uint8)
        images = {"front": image} if render else {}
        state = np.array([self.position], np.float32)
        return Observation(images=images, state=state, instruction=self.instruction, time_s=self.steps / 10)

    def step(self, action: np.ndarray) -> None:
        self.position += float(action[0])
        self.steps += 1
        if self.doom and self.steps == 3:
            _meet_doom(Path(self.doom))
        if self.task == "fix me" and os.environ.get(BROKEN):
            raise ZeroDivisionError("the toy is broken for now")
        if self.task == "crash" and self.steps == 3:
            raise ZeroDivisionError("the toy broke")
        if self.task == "die" and self.steps == 3:
            if self.spoils:
                (Path(self.spoils) / "weights.safetensors").write_text("others")
            os._exit(7)
        if self.task == "hang":
            Path(os.environ[HANGS]).touch()
            time.sleep(600)

    def success(self) -> bool:
        return self.position > 2.0 and self.task not in ("crash", "die", "hang")

    def measures(self) -> Mapping[str, float]:
        return {"position": self.position}

    def close(self) -> None:
        pass


def _take_a_place(folder: Path) -> None:
    """Returns at once while there are places (empty files) in the folder, and never when none is left.

    Without the folder there is no limit. So a test that stops a run knows how far it can have come.
    """
    while folder.exists():
        for place in sorted(folder.iterdir()):
            try:
                place.unlink()
                return
            except FileNotFoundError:
                continue  # another worker took it
        time.sleep(0.01)


def _meet_doom(folder: Path) -> None:
    """Once, where a file in the folder says so: end this process, or the node of Ray that started it."""
    what, victim = ("node", os.getppid()) if os.environ.get(DOOMED) else ("worker", os.getpid())
    try:
        (folder / what).unlink()
    except FileNotFoundError:
        return
    os.kill(victim, signal.SIGKILL)
    time.sleep(600)  # until its node's end is noticed


class ToyBenchmark:
    name = "toy"

    def __init__(
        self,
        tasks: tuple[str, ...] = ("left", "middle", "right"),
        wait_in: str = "",
        spoils: str = "",
        doom: str = "",
    ) -> None:
        self._tasks, self._wait_in, self._spoils, self._doom = tuple(tasks), wait_in, spoils, doom

    def tasks(self) -> tuple[TaskSpec, ...]:
        group = {"left": "even", "middle": "odd"}
        return tuple(
            TaskSpec(name=t, card="toy", control_hz=10, groups={"kind": group.get(t, "even")})
            for t in self._tasks
        )

    def make(self, task: str) -> ToyEnv:
        return ToyEnv(task, self._wait_in, self._spoils, self._doom)

    def provenance(self) -> dict[str, Any]:
        return {}


class DiffusingPolicy:
    """Noisy like a sampled network: its chunk depends on the seed of `reset` and on nothing else."""

    provenance: ClassVar = {"policy": "diffusing"}

    def __init__(self, chunk: int = 16, unfit: bool = False, poison: bool = False, folder: str = "") -> None:
        if unfit:
            raise KinemaError("no artifact at this path")
        _die_at_birth()
        self.chunk, self.poison = chunk, poison

    def reset(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 1])

    def infer(self, observation: Observation, card_name: str) -> ActionChunk:
        values = self.rng.normal(0.1, 0.6, (self.chunk, 1))
        values[0] = np.nan if self.poison else values[0]
        return ActionChunk(values=values, times_s=np.arange(self.chunk) / 10.0, card=card_name)


class ToldPolicy(DiffusingPolicy):
    """As a policy behind a server is: it says of itself what it likes, and nobody can look."""

    @property
    def provenance(self) -> dict[str, Any]:  # type: ignore[override]
        return {"policy": os.environ[TOLD]}


def _die_at_birth() -> None:
    """Where the variable names a folder: end every process that begins after the first, `dies` times."""
    if not (folder := os.environ.get(STILLBORN)):
        return
    births = sum(1 for _ in Path(folder).glob("birth*"))
    (Path(folder) / f"birth{births}").touch()
    if 1 <= births <= int((Path(folder) / "dies").read_text()):
        os._exit(9)
