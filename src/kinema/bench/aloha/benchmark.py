"""ALOHA's two simulated tasks (gym-aloha 0.1.5) behind the environment interface of the benchmark runner.

Tasks, start sampling, physics, rewards and the picture are the package's. The reward goes from 0 to 4, and an
episode ends at its first 4, after 300 steps as the package has it (suite `gym`) or after 400 as ACT's
evaluation (Zhao et al. 2023, arXiv 2304.13705; suite `act`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from kinema.bench.aloha.conventions import of_card, of_package
from kinema.bench.aloha.expert import Expert
from kinema.bench.benchmark import TaskSpec
from kinema.bench.conventions import check_same
from kinema.bench.drawing import LOOKS, Lighter, lightened
from kinema.bench.gl import prefer_egl
from kinema.card.load import load_card
from kinema.schema import KinemaError, Observation
from kinema.space.rotation import matrix_from_quat
from kinema.worlds.cameras import project

CARD = "aloha_gym"
SUITES = {"gym": 300, "act": 400}  # steps at most
INSTRUCTIONS = {
    "transfer_cube": "pick up the red cube with the right arm and hand it to the left arm",
    "insertion": "pick up the blue socket and the red peg and insert the peg into the socket",
}
SUCCESS = 4  # of the package's reward
_PACKAGES = ("gym-aloha", "dm-control", "mujoco")
# Where each task's two things to point at are: what is taken, and where it goes.
_POINTED = {"transfer_cube": ("box", "vx300s_left/gripper_link"), "insertion": ("peg", "socket")}


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """How the one picture is made: kept with every result. Without `lighter` it is as the package draws it.

    That draws 640 x 480. A square picture is the middle of that one, drawn at its own size.
    """

    width_px: int = 128
    height_px: int = 128
    camera: str = "top"
    lighter: Lighter | None = None


RENDERING = Rendering()
WHOLE = Rendering(width_px=640, height_px=480)
DIFFERENCES = (
    "pictures: drawn at the size in `rendering`, where the package draws 640 x 480; a square is its middle",
    "sentences: the package has none, these are ours",
    "a simulation that diverges under its commands is a failure of the episode, where the package raises",
)


def _package() -> tuple[Any, type[Exception]]:
    """Its environment, and what that raises when its physics diverges."""
    prefer_egl()
    try:
        from dm_control.rl.control import PhysicsError
        from gym_aloha.env import AlohaEnv as Package
    except ImportError as error:
        raise KinemaError(
            f"gym-aloha is not installed ({error}); install it with: pip install 'kinema[aloha]'"
        ) from error
    return Package, PhysicsError


class AlohaEnv:
    """One task. `reset`, then any number of `observe` and `step`; `step` never renders."""

    def __init__(self, task: str, max_steps: int, rendering: Rendering = RENDERING) -> None:
        if task not in INSTRUCTIONS:
            raise KinemaError(f"unknown ALOHA task {task!r}; choices: {', '.join(INSTRUCTIONS)}")
        self.max_steps = max_steps
        self.task = task
        self.instruction = INSTRUCTIONS[task]
        self.rendering = rendering
        self._card = load_card(CARD)
        package, self._diverging = _package()
        self._env = package(task, obs_type="pixels_agent_pos")
        task_there = self._env._env.task
        # The package draws three pictures of 640 x 480 at every step; here one is drawn when it is asked for.
        undrawn = {"top": np.zeros(0)}
        task_there.get_observation = lambda physics: {"qpos": task_there.get_qpos(physics), "images": undrawn}
        if rendering.lighter is not None:
            _lighten(self._physics, rendering.lighter)
        self._env.reset(seed=0)
        check_same("gym-aloha", of_card(self._card), of_package(self._env))
        self._low, self._high = np.array([channel.range for channel in self._card.actions]).T
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Draw an episode. Equal seeds give equal episodes, whatever was run before on this object."""
        seen, _ = self._env.reset(seed=int(seed))
        self._state = seen["agent_pos"]
        self._steps = 0
        self._best = 0
        self._diverged = False
        self._expert: Expert | None = None

    def state(self) -> np.ndarray:
        """Joints [rad] and openings [fraction], left then right: float32 (14,)."""
        return self._state.astype(np.float32)

    def observe(self, render: bool = True) -> Observation:
        """What the policy may know now. Without `render` the observation has no images."""
        return Observation(
            images={self.rendering.camera: self.render()} if render else {},
            state=self.state(),
            instruction=self.instruction,
            time_s=self._steps / self._card.control_hz,
        )

    def render(self) -> np.ndarray:
        """The picture, uint8 (height, width, 3)."""
        shown = self.rendering
        flags = {} if shown.lighter is None else {"reflection": shown.lighter.reflections}
        picture = self._physics.render(
            height=shown.height_px, width=shown.width_px, camera_id=shown.camera, render_flag_overrides=flags
        )
        return np.array(picture)

    def step(self, action: np.ndarray) -> None:
        """Apply a native action (14,), clipped to the card's ranges. Raises KinemaError for anything else.

        Nothing moves any more when the simulation has diverged.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (14,) or not np.isfinite(action).all():
            raise KinemaError(f"an ALOHA action has 14 finite numbers; got {action!r}")
        self._steps += 1
        if self._diverged:
            return
        try:
            seen, reward, _, _, _ = self._env.step(np.clip(action, self._low, self._high))
        except self._diverging:
            self._diverged = True
            return
        self._state = seen["agent_pos"]
        self._best = max(self._best, reward)

    def expert_action(self) -> np.ndarray:
        """What the scripted expert does from here, float64 (14,)."""
        self._expert = self._expert or Expert(self)
        return self._expert.act()

    def success(self) -> bool:
        """Whether the package's reward has been 4 at any step of this episode."""
        return self._best >= SUCCESS

    def measures(self) -> dict[str, float]:
        """The highest reward of the running episode, and whether its simulation has diverged (0 or 1)."""
        return {"highest_reward": float(self._best), "diverged": float(self._diverged)}

    def pose(self, body: str) -> np.ndarray:
        """T_world_body (4, 4) [m] of a body of the simulator: for experts and labels, never for a policy."""
        data = self._physics.named.data
        pose = np.eye(4)
        pose[:3, :3] = matrix_from_quat(data.xquat[body])
        pose[:3, 3] = data.xpos[body]
        return pose

    def points(self) -> np.ndarray:
        """Pointing labels, float32 (V=1, P=2, 3): u, v as fractions of width and height, and visible 0/1.

        The two points are the thing that is taken and where it goes. Raises KinemaError unless the picture
        is square.
        """
        if self.rendering.width_px != self.rendering.height_px:
            raise KinemaError("pointing labels are of square pictures")
        points_m = np.stack([self.pose(body)[:3, 3] for body in _POINTED[self.task]])
        model, data = self._physics.model.ptr, self._physics.data.ptr
        seen = project(model, data, model.camera(self.rendering.camera).id, points_m)
        return seen[None].astype(np.float32)

    @property
    def _physics(self) -> Any:
        return self._env._env.physics

    def close(self) -> None:
        """Free the graphics context."""
        self._physics.free()


def _lighten(physics: Any, lighter: Lighter) -> None:
    """From now on dm-control's `Physics`, which has drawn nothing yet, draws so."""
    from dm_control.mujoco import engine, wrapper

    size = physics.model.vis.global_
    gl = engine._render.Renderer(max_width=size.offwidth, max_height=size.offheight)
    drawn = wrapper.MjModel(lightened(physics.model.ptr, lighter))
    physics._contexts = engine.Contexts(gl=gl, mujoco=wrapper.MjrContext(drawn, gl))


class AlohaBenchmark:
    """Both tasks for the runner; a task is named "suite/task"."""

    name = "aloha"

    def __init__(
        self, suites: Iterable[str] = tuple(SUITES), whole: bool = False, look: str = "shipped"
    ) -> None:
        """whole: pictures of 640 x 480; look: one of `LOOKS`"""
        self._suites = tuple(suites)
        if unknown := [suite for suite in self._suites if suite not in SUITES]:
            raise KinemaError(f"unknown ALOHA suite {unknown[0]!r}; choices: {', '.join(SUITES)}")
        self._rendering = replace(WHOLE if whole else RENDERING, lighter=LOOKS[look])
        _package()

    def tasks(self) -> tuple[TaskSpec, ...]:
        hz = load_card(CARD).control_hz
        return tuple(
            TaskSpec(
                name=f"{suite}/{task}", card=CARD, control_hz=hz, groups={"suite": suite, "task": task},
                expert=True,
            )
            for suite in self._suites
            for task in INSTRUCTIONS
        )  # fmt: skip

    def make(self, task: str) -> AlohaEnv:
        suite, _, name = task.partition("/")
        return AlohaEnv(name, SUITES[suite], self._rendering)

    def provenance(self) -> dict[str, Any]:
        return {
            "protocol": "the package's start sampling by seed, 50 Hz, joint targets, reward 4 of 4, "
            + ", ".join(f"{suite} {SUITES[suite]} steps" for suite in self._suites)
            + ", an episode ends at its first success",
            "packages": {name: version(name) for name in _PACKAGES},
            "rendering": asdict(self._rendering),
            "not_as_gym_aloha": DIFFERENCES,
        }
