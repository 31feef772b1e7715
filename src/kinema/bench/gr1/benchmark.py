"""RoboCasa-GR1 behind the environment interface of the benchmark runner.

The protocol is that of GR00T's evaluation: 24 tasks, 720 steps at 20 Hz, success at any of them, pictures,
sentences and joint targets as the package's environment gives and takes them. The simulator is the package
`praxis-robocasa-gr1`, in a process of its own; its assets are its own download.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kinema.bench.benchmark import TaskSpec
from kinema.bench.conventions import check_same
from kinema.bench.gr1.conventions import Conventions, by_key, of_card, to_card, to_package
from kinema.bench.gr1.tasks import TASKS
from kinema.bench.own_environment import OwnEnvironment
from kinema.bench.simulator import SimulatorProcess
from kinema.card.load import load_card
from kinema.runtime.wire import convert
from kinema.schema import KinemaError, Observation

CARD = "gr1"
MAX_STEPS = 720
GR1 = OwnEnvironment(
    benchmark="RoboCasa-GR1",
    variable="KINEMA_GR1",
    folder=".venv-gr1",
    script="scripts/setup_gr1.sh",
    target="kinema.bench.gr1.simulation:Gr1Simulation",
)
DIFFERENCES = (
    "scenes: drawn by the run's seed, where GR00T's evaluation seeds none",
    "simulator: the package's mujoco and robosuite, newer than those that published numbers were played with",
)


class Gr1Env:
    """One task in a simulator of its own. `reset`, then any number of `observe` and `step`."""

    max_steps = MAX_STEPS

    def __init__(self, task: str) -> None:
        self.instruction = ""
        self._card = load_card(CARD)
        self._simulator = SimulatorProcess(GR1.python(), GR1.target)
        self._simulator.call("open", task=task)
        self._reading: dict[str, Any] = {}
        self._steps, self._succeeded = 0, False

    def reset(self, seed: int) -> None:
        """A scene drawn by this seed. Raises KinemaError where its robot is not the card's."""
        self._reading = self._simulator.call("reset", seed=seed)
        check_same("RoboCasa-GR1", of_card(self._card), convert(self._reading["conventions"], Conventions))
        self.instruction = self._reading["instruction"]
        self._steps, self._succeeded = 0, False

    def observe(self, render: bool = True) -> Observation:
        """What the policy may know now. Without `render` the observation has no images."""
        picture = {self._card.camera_names[0]: self._simulator.call("picture")} if render else {}
        return Observation(
            images=picture,
            state=to_card(self._card, self._reading["state"]).astype(np.float32),
            instruction=self.instruction,
            time_s=self._steps / self._card.control_hz,
        )

    def step(self, action: np.ndarray) -> None:
        """Apply a native action (29,). Raises KinemaError for anything but 29 finite numbers."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (len(self._card.actions),) or not np.isfinite(action).all():
            raise KinemaError(f"a RoboCasa-GR1 action has 29 finite numbers; got {action!r}")
        parts = by_key(self._card, to_package(self._card, action))
        self._reading = self._simulator.call("step", parts=parts)
        self._succeeded |= bool(self._reading["success"])
        self._steps += 1

    def success(self) -> bool:
        """Whether the package has called any step of this episode a success."""
        return self._succeeded

    def measures(self) -> dict[str, float]:
        """Nothing beside success."""
        return {}

    def close(self) -> None:
        """End the simulator."""
        self._simulator.close()


class Gr1Benchmark:
    """The 24 tasks for the runner. Raises KinemaError where something is missing."""

    name = "gr1"

    def __init__(self) -> None:
        with GR1.asked() as (simulator, about):
            self._about = about["versions"]
            simulator.call("check_assets")

    def tasks(self) -> tuple[TaskSpec, ...]:
        hz = load_card(CARD).control_hz
        return tuple(
            TaskSpec(name=task, card=CARD, control_hz=hz, groups={"kind": kind})
            for task, kind in TASKS.items()
        )

    def make(self, task: str) -> Gr1Env:
        return Gr1Env(task)

    def provenance(self) -> dict[str, Any]:
        return {
            "protocol": f"at most {MAX_STEPS} steps at 20 Hz, success at any of them, joint targets, the cut "
            "picture and the sentence that GR00T is given",
            "simulator": self._about,
            "not_as_published": DIFFERENCES,
        }
