"""Meta-World 3.1.1 (MT50, v3 tasks) behind the environment interface of the benchmark runner.

One policy for 50 tasks, camera corner2 moved to (0.75, 0.075, 0.7), image turned upright, 4-d state and
action, random object and goal positions, at most 500 steps, an episode ends at its first success. The goal
reaches the policy through the picture only. What it is told and how the picture is made: `protocols.py`.
The package's own reset, step, success test and experts are used as they are.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from kinema.bench.benchmark import TaskSpec
from kinema.bench.gl import prefer_egl
from kinema.bench.metaworld.protocols import PROTOCOLS, Rendering
from kinema.bench.metaworld.tasks import GROUPS, TASKS
from kinema.schema import KinemaError, Observation

CARD = "sawyer_metaworld"
CONTROL_HZ = 80.0  # one step is five physics steps of 2.5 ms
MAX_STEPS = 500
TRAINING_SEEDS_FROM = 1_000_000  # demonstrations use seeds from here on, evaluation the ones below


def _package() -> Any:
    prefer_egl()
    try:
        import metaworld.env_dict
        import metaworld.policies
    except ImportError as error:
        raise KinemaError(
            f"Meta-World is not installed ({error}); install it with: pip install 'kinema[metaworld]'"
        ) from error
    # The experts ask for more than [-1, 1] by design; `expert_action` clips as the environment does.
    warnings.filterwarnings("ignore", message=r"Constant\(s\) may be too high", category=UserWarning)
    return metaworld


def rendering_of(protocol: str, size_px: int | None, *, demonstrated: bool = False) -> Rendering:
    """How a protocol's pictures are made, at this size; None: at its own."""
    told = PROTOCOLS[protocol]
    rendering = told.demonstrated if demonstrated else told.rendering
    return rendering if size_px is None else replace(rendering, size_px=size_px)


class MetaworldEnv:
    """One task. `reset`, then any number of `observe`, `expert_action` and `step`; `step` never renders."""

    max_steps = MAX_STEPS
    cameras = ("corner2",)

    def __init__(
        self, task: str, protocol: str = "kinema", size_px: int | None = None, *, demonstrated: bool = False
    ) -> None:
        """size_px: pixels of a picture's side; None: the protocol's

        demonstrated: with the pictures of its demonstrations
        """
        if task not in TASKS:
            near = get_close_matches(task, TASKS, n=3, cutoff=0.3) or list(TASKS[:3])
            raise KinemaError(f"unknown Meta-World task {task!r}; nearest of the 50: {near}")
        package = _package()
        self.task = task
        self.instruction = PROTOCOLS[protocol].instructions[task]
        self.rendering = rendering_of(protocol, size_px, demonstrated=demonstrated)
        self._env = package.env_dict.ALL_V3_ENVIRONMENTS[task]()
        self._expert = package.policies.ENV_POLICY_MAP[task]()
        self._prepare_randomisation()
        self._prepare_camera()
        self._full_observation = np.zeros(39)
        self._steps = 0
        self._succeeded = False
        self._info: dict[str, Any] = {}

    def _prepare_randomisation(self) -> None:
        """Positions drawn at every reset from the env's own seeded generator; the expert sees the goal."""
        env = self._env
        env._set_task_called = True
        env._freeze_rand_vec = False
        env.seeded_rand_vec = True
        env._partially_observable = False
        env.__dict__.pop("sawyer_observation_space", None)  # cached with the goal's bounds at zero

    def _prepare_camera(self) -> None:
        model = self._env.model
        from kinema.worlds.cameras import Cameras, Effects

        shown = self.rendering
        flags = {"shadow": shown.shadows, "reflection": shown.reflections, "skybox": shown.skybox}
        effects = Effects(flags={**flags, "cull_face": shown.cull_faces})
        self._cameras = Cameras(model, [shown.camera], shown.size_px, effects)
        model.cam_pos[self._cameras.ids[0]] = shown.camera_position_m
        if not shown.shadows:
            model.vis.quality.shadowsize = 0
        elif shown.shadow_map_px is not None:
            model.vis.quality.shadowsize = shown.shadow_map_px
        model.vis.quality.offsamples = shown.multisampling

    def reset(self, seed: int) -> None:
        """Draw an episode. Equal seeds give equal episodes, whatever was run before on this object."""
        import mujoco

        env = self._env
        env.seed(int(seed))
        env.reset()
        # The package places markers and furniture in the model after its last forward pass: without this
        # one the first picture would show them where the previous episode had them.
        mujoco.mj_forward(env.model, env.data)
        env._prev_obs = env._get_curr_obs_combined_no_goal()
        self._full_observation = env._get_obs()
        self._steps = 0
        self._succeeded = False
        self._info = {}

    def state(self) -> np.ndarray:
        """Hand x, y, z [m] and gripper opening [fraction]: float32 (4,)."""
        return self._full_observation[:4].astype(np.float32)

    @property
    def full_observation(self) -> np.ndarray:
        """The package's privileged observation, float64 (39,): for experts and labels, never for a policy."""
        return self._full_observation

    def observe(self, render: bool = True) -> Observation:
        """What the policy may know now. Without `render` the observation has no images."""
        return Observation(
            images={self.rendering.camera: self.render()} if render else {},
            state=self.state(),
            instruction=self.instruction,
            time_s=self._steps / CONTROL_HZ,
        )

    def render(self) -> np.ndarray:
        """The picture, uint8 (size, size, 3), upright."""
        (image,) = self._cameras.pictures(self._env.data)
        return np.ascontiguousarray(image[::-1, ::-1]) if self.rendering.half_turn else image

    def step(self, action: np.ndarray) -> None:
        """Apply a native action (4,), clipped to [-1, 1]. Raises KinemaError for anything but 4 numbers."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (4,) or not np.isfinite(action).all():
            raise KinemaError(f"a Meta-World action has 4 finite numbers; got {action!r}")
        observation, _, _, _, info = self._env.step(np.clip(action, -1.0, 1.0).astype(np.float32))
        self._full_observation = observation
        self._info = info
        self._steps += 1
        self._succeeded = self._succeeded or bool(info["success"])

    def expert_action(self) -> np.ndarray:
        """What the package's scripted expert does from here: float32 (4,), clipped to [-1, 1]."""
        action = self._expert.get_action(self._full_observation)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def success(self) -> bool:
        """Whether the package has reported success at any step of this episode."""
        return self._succeeded

    def measures(self) -> dict[str, float]:
        """Named numbers of the running episode: the package's own progress values."""
        names = ("obj_to_target", "grasp_reward", "in_place_reward", "unscaled_reward")
        return {name: float(self._info[name]) for name in names if name in self._info}

    def points_m(self) -> np.ndarray:
        """World positions (2, 3) [m] of the thing to act on and of where it goes."""
        goal = np.asarray(self._env._target_pos, dtype=np.float64)
        acts_on_goal = self.task in ("reach-v3", "reach-wall-v3", "hand-insert-v3")
        return np.stack([goal if acts_on_goal else self._full_observation[4:7], goal])

    def points(self) -> np.ndarray:
        """Pointing labels, float32 (V=1, P=2, 3): u, v as fractions of width and height, and visible 0/1."""
        labels = self._cameras.project(self._env.data, self.points_m())
        seen = labels[..., 2] > 0
        if self.rendering.half_turn:
            labels[seen, :2] = 1.0 - labels[seen, :2]
        return labels

    def close(self) -> None:
        """Free the renderer's graphics context."""
        self._cameras.close()


class MetaworldBenchmark:
    """MT50 for the runner: 50 tasks in four difficulty groups."""

    name = "metaworld"

    def __init__(self, protocol: str = "kinema", size_px: int | None = None) -> None:
        """size_px: as in `MetaworldEnv`"""
        if protocol not in PROTOCOLS:
            raise KinemaError(f"unknown protocol {protocol!r} of Meta-World; choices: {', '.join(PROTOCOLS)}")
        self._protocol, self._size_px = protocol, size_px

    def tasks(self) -> tuple[TaskSpec, ...]:
        return tuple(
            TaskSpec(
                name=task, card=CARD, control_hz=CONTROL_HZ, groups={"difficulty": group}, expert=True
            )
            for group, tasks in GROUPS.items()
            for task in tasks
        )  # fmt: skip

    def make(self, task: str) -> MetaworldEnv:
        return MetaworldEnv(task, self._protocol, self._size_px)

    def provenance(self) -> dict[str, Any]:
        protocol = PROTOCOLS[self._protocol]
        return {
            "judged_as_by": self._protocol,
            "protocol": "MT50 v3, corner2, random goals, image + 4-d state + instruction, 500 steps, "
            "an episode ends at its first success",
            "sentences": dict(protocol.instructions),
            "rendering": asdict(rendering_of(self._protocol, self._size_px)),
            "not_as_lerobot": protocol.differences,
        }
