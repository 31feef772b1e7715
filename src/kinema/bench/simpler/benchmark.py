"""SimplerEnv's four WidowX tasks behind the environment interface of the benchmark runner.

The protocol is SimplerEnv's visual matching (arXiv 2405.05941) as ManiSkill 3 has it: an episode's index is
its configuration, 60 steps (120 for the eggplant) at 5 Hz, all of them played, success asked after the last
one, and a picture of the real place laid over everything but the arm and what it acts on. The simulator is
the package `mani_skill`, in a process of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kinema.bench.benchmark import TaskSpec
from kinema.bench.conventions import check_same
from kinema.bench.own_environment import OwnEnvironment
from kinema.bench.simpler.conventions import CARD, PICTURE_PX, Conventions, of_card
from kinema.bench.simulator import SimulatorProcess
from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import gripper_of, home_rotation
from kinema.card.load import load_card
from kinema.runtime.wire import convert
from kinema.schema import KinemaError, Observation
from kinema.space.rotation import rotvec_from_matrix
from kinema.worlds.cameras import seen_from

CONFIGURATIONS = 24  # of every task that are played; the eggplant's first 24 of 64, as SimplerEnv does
FOLDER = "KINEMA_SIMPLER"  # the environment variable that names SimplerEnv's environment
TASKS = {  # as the package calls them
    "carrot_on_plate": "PutCarrotOnPlateInScene-v1",
    "eggplant_in_basket": "PutEggplantInBasketScene-v1",
    "spoon_on_towel": "PutSpoonOnTableClothInScene-v1",
    "stack_cube": "StackGreenCubeOnYellowCubeBakedTexInScene-v1",
}
SIMPLER = OwnEnvironment(
    benchmark="SimplerEnv", variable=FOLDER, folder=".venv-simpler", script="scripts/setup_simpler.sh",
    target="kinema.bench.simpler.simulation:SimplerSimulation",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """How pictures are shown: kept with every result. They are drawn at 640 x 480 and scaled, not cut."""

    width_px: int = 128
    height_px: int = 128


RENDERING = Rendering()
WHOLE = Rendering(width_px=PICTURE_PX[0], height_px=PICTURE_PX[1])
# Tasks, configurations, step limits, controller, pictures, overlay and success are the package's, but not:
DIFFERENCES = (
    "pictures: scaled to the size in `rendering`, where the package's are 640 x 480",
    "turns: a rotation vector, as in ManiSkill 2 and in policies for it; it is made the Euler angles that "
    "ManiSkill 3 reads, where SimplerEnv's own loop for it hands the vector on",
    "scenes are built anew for every episode, so that no episode depends on what was played before",
)


class SimplerEnv:
    """One task in a simulator of its own. `reset` or `reset_to`, then any number of `observe` and `step`."""

    judged_at_the_end: Literal[True] = True

    def __init__(
        self, task: str, python: Path, rendering: Rendering = RENDERING, assets: str | None = None
    ) -> None:
        if task not in TASKS:
            raise KinemaError(f"unknown SimplerEnv task {task!r}; choices: {', '.join(TASKS)}")
        self._card = load_card(CARD)
        self._simulator = SimulatorProcess(python, SIMPLER.target)
        told = self._simulator.call(
            "open", task=TASKS[task], shown_px=[rendering.width_px, rendering.height_px], assets=assets
        )
        check_same("SimplerEnv", of_card(self._card), convert(told["conventions"], Conventions))
        self.instruction: str = told["instruction"]
        self.max_steps: int = told["max_steps"]
        self._reading: dict[str, Any] = {}
        self._steps = 0
        self._seen: set[str] = set()

    def reset(self, seed: int) -> None:
        """An episode from a placement that the seed draws, near the configurations and none of them."""
        self._begin(None, seed)

    def reset_to(self, index: int, seed: int) -> None:
        """The episode of this configuration; a round of 24 begins again after the last."""
        self._begin(index % CONFIGURATIONS, seed)

    def _begin(self, start: int | None, seed: int) -> None:
        self._steps, self._seen = 0, set()
        self._take(self._simulator.call("reset", start=start, seed=seed))

    def _take(self, reading: dict[str, Any]) -> None:
        self._reading = reading
        self._seen |= {name for name, value in reading.items() if value is True}

    def state(self) -> np.ndarray:
        """float32 (7,) as the card says."""
        return native_state(self._card, self._reading)

    def observe(self, render: bool = True) -> Observation:
        """What the policy may know now. Without `render` the observation has no images."""
        return Observation(
            images=self._simulator.call("pictures") if render else {},
            state=self.state(),
            instruction=self.instruction,
            time_s=self._steps / self._card.control_hz,
        )

    def points(self) -> np.ndarray:
        """Pointing labels, float32 (V=1, P=2, 3): u, v as fractions of width and height, and visible 0/1.

        The two points are the thing that is taken and where it goes.
        """
        return seen_from(**self._simulator.call("pointed"))[None].astype(np.float32)

    def step(self, action: np.ndarray) -> None:
        """Apply a native action (7,), the opening clipped to [0, 1] and the displacement as it is.

        Raises KinemaError for anything but 7 finite numbers.
        """
        action = np.array(action, dtype=np.float64)
        if action.shape != (7,) or not np.isfinite(action).all():
            raise KinemaError(f"a SimplerEnv action has 7 finite numbers; got {action!r}")
        action[6] = np.clip(action[6], 0.0, 1.0)
        self._take(self._simulator.call("step", action=action))
        self._steps += 1

    def expert_action(self) -> np.ndarray:
        """What the scripted expert does from here, float64 (7,)."""
        action: np.ndarray = self._simulator.call("expert_action")
        return action

    def success(self) -> bool:
        """What the package's test says now; SimplerEnv counts what it says after the last step."""
        return bool(self._reading["success"])

    def measures(self) -> dict[str, float]:
        """0 or 1: whether the thing has been grasped, and whether the test has said success, at any step."""
        return {
            "grasped": float("is_src_obj_grasped" in self._seen),
            "success_at_any_step": float("success" in self._seen),
        }

    def processor_s(self) -> float:
        """What the simulator's process has taken so far, as `time.process_time`."""
        return float(self._simulator.call("processor_s"))

    def close(self) -> None:
        """End the simulator."""
        self._simulator.close()


def native_state(card: EmbodimentCard, reading: dict[str, Any]) -> np.ndarray:
    """The card's state, float32 (7,), from what the simulator measures."""
    arm = card.arms[0]
    gripper = gripper_of(arm)
    rotation = rotvec_from_matrix(reading["R_robot_tool"] @ home_rotation(arm).T)
    (closed_m, *_), (open_m, *_) = gripper.closed, gripper.open
    opening = np.clip((reading["fingers_m"].mean() - closed_m) / (open_m - closed_m), 0.0, 1.0)
    return np.concatenate([reading["position_m"], rotation, [opening]]).astype(np.float32)


class SimplerBenchmark:
    """The four tasks for the runner.

    assets:  the folder that holds ManiSkill's downloads; None for the package's own
    size_px: of a square picture; whole: the package's own picture instead
    Raises KinemaError when SimplerEnv's environment or its assets are missing, incomplete, of another kinema,
    or cannot draw.
    """

    name = "simpler"

    def __init__(
        self, assets: str | None = None, size_px: int = RENDERING.width_px, whole: bool = False
    ) -> None:
        self._rendering = WHOLE if whole else Rendering(width_px=size_px, height_px=size_px)
        self._python = SIMPLER.python()
        self._assets = assets
        with SIMPLER.asked(assets=assets) as (simulator, self._about):
            self._drawn_on = simulator.call("draws")
            self._tasks = simulator.call("tasks")

    def tasks(self) -> tuple[TaskSpec, ...]:
        hz = load_card(CARD).control_hz
        return tuple(
            TaskSpec(name=name, card=CARD, control_hz=hz, groups={"task": name}, expert=True)
            for name in TASKS
        )

    def make(self, task: str) -> SimplerEnv:
        return SimplerEnv(task, self._python, self._rendering, self._assets)

    def provenance(self) -> dict[str, Any]:
        return {
            "protocol": "visual matching: configuration by episode index, 24 a task, all steps played, "
            "success after the last one",
            "tasks": {name: self._tasks[there] for name, there in TASKS.items()},
            "simulator": self._about["versions"],
            "assets": self._about["assets"],
            "drawn_on": self._drawn_on,
            "rendering": asdict(self._rendering),
            "not_as_simpler": DIFFERENCES,
        }
