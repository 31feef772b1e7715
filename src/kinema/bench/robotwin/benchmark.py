"""RoboTwin 2.0 behind the environment interface of the benchmark runner.

The protocol is that of its authors' `eval_policy.py`: episodes are the seeds from 100000 on that its expert
solves, sentences the unseen ones, actions joint targets, and each task has its own limit of them. The
simulator is the package `rlinf-robotwin-runtime`, in a process of its own; its assets are its own download.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kinema.bench.benchmark import TaskSpec
from kinema.bench.conventions import check_same
from kinema.bench.own_environment import OwnEnvironment
from kinema.bench.robotwin.conventions import Conventions, of_card
from kinema.bench.simulator import SimulatorProcess
from kinema.card.load import load_card
from kinema.runtime.wire import convert
from kinema.schema import KinemaError, Observation

CARD = "aloha_agilex"
SUITES = ("clean", "randomized")  # the package's demo_clean and demo_randomized
ROBOTWIN = OwnEnvironment(
    benchmark="RoboTwin",
    variable="KINEMA_ROBOTWIN",
    folder=".venv-robotwin",
    script="scripts/setup_robotwin.sh",
    target="kinema.bench.robotwin.simulation:RobotwinSimulation",
)
DIFFERENCES = (
    "sentences: drawn by the scene's seed, where the published script draws from global generators",
    "seeds: counted from 100000 by every worker for itself, so that an episode's number alone says its scene",
)


class RobotwinEnv:
    """One task in a simulator of its own. `reset_to`, then any number of `observe` and `step`."""

    def __init__(self, suite: str, task: str, max_steps: int) -> None:
        self.max_steps = max_steps
        self.instruction = ""
        self._card = load_card(CARD)
        self._simulator = SimulatorProcess(ROBOTWIN.python(), ROBOTWIN.target)
        self._simulator.call("open", task=task, configuration=suite)
        self._reading: dict[str, Any] = {}
        self._steps = 0

    def reset(self, seed: int) -> None:
        """Raises KinemaError: which scenes are played is the benchmark's own."""
        raise KinemaError("RoboTwin's episodes are numbered; a seed says nothing to it")

    def reset_to(self, index: int, seed: int) -> None:
        """The episode of this number. The first one waits for the expert on every scene before it."""
        self._reading = self._simulator.call("reset", index=index)
        check_same("RoboTwin", of_card(self._card), convert(self._reading["conventions"], Conventions))
        self.instruction = self._reading["instruction"]
        self._scene = self._reading["seed"]
        self._steps = 0

    def observe(self, render: bool = True) -> Observation:
        """What the policy may know now. Without `render` the observation has no images."""
        return Observation(
            images=self._simulator.call("pictures") if render else {},
            state=np.asarray(self._reading["state"], np.float32),
            instruction=self.instruction,
            time_s=self._steps / self._card.control_hz,
        )

    def step(self, action: np.ndarray) -> None:
        """Apply a native action (14,). Raises KinemaError for anything but 14 finite numbers."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (14,) or not np.isfinite(action).all():
            raise KinemaError(f"a RoboTwin action has 14 finite numbers; got {action!r}")
        self._reading = self._simulator.call("step", action=action)
        self._steps += 1

    def success(self) -> bool:
        """Whether the package has tested success on the way of any action of this episode."""
        return bool(self._reading["success"])

    def measures(self) -> dict[str, float]:
        """The seed of the scene, as the published evaluation counts it."""
        return {"scene_seed": float(self._scene)}

    def close(self) -> None:
        """End the simulator."""
        self._simulator.close()


class RobotwinBenchmark:
    """All tasks for the runner; a task is "suite/task". Raises KinemaError where something is missing."""

    name = "robotwin"

    def __init__(self, suites: Iterable[str] = SUITES) -> None:
        self._suites = tuple(suites)
        if unknown := [suite for suite in self._suites if suite not in SUITES]:
            raise KinemaError(f"unknown RoboTwin suite {unknown[0]!r}; choices: {', '.join(SUITES)}")
        with ROBOTWIN.asked() as (simulator, about):
            self._about = about["versions"]
            self._limits: dict[str, int] = simulator.call("limits")
            self._assets = simulator.call("assets")

    def tasks(self) -> tuple[TaskSpec, ...]:
        hz = load_card(CARD).control_hz
        return tuple(
            TaskSpec(name=f"{suite}/{task}", card=CARD, control_hz=hz, groups={"suite": suite})
            for suite in self._suites
            for task in self._limits
        )

    def make(self, task: str) -> RobotwinEnv:
        suite, name = task.split("/")
        return RobotwinEnv(suite, name, self._limits[name])

    def provenance(self) -> dict[str, Any]:
        return {
            "protocol": "seeds from 100000 on that the package's expert solves, unseen sentences, joint "
            "targets, at most the package's number of actions of each task",
            "simulator": self._about,
            "assets": self._assets,
            "step_limits": self._limits,
            "not_as_published": DIFFERENCES,
        }
