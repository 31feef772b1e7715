"""SimplerEnv itself, as ManiSkill 3 has it. Runs in its own environment (`scripts/setup_simpler.sh`).

Tasks, configurations, scenes, controller, pictures and the success test are the package's, as they are.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from kinema.bench.simpler.conventions import (
    CARD,
    POSTURE_RAD,
    TRIED,
    TURNED,
    Conventions,
    rounded,
    taken,
)
from kinema.bench.simpler.expert import Expert
from kinema.bench.simpler.placements import drawn
from kinema.bench.simpler.robot import matrix, tool
from kinema.card.kinematics import home_rotation
from kinema.card.load import load_card
from kinema.schema import KinemaError
from kinema.space.rotation import rotvec_from_matrix
from kinema.versions import source_digest

_PACKAGES = ("mani_skill", "sapien", "torch", "numpy")
_DATA = Path("data")  # the package puts its downloads there, below the folder that it is given
_NEEDED = ("tasks/bridge_v2_real2sim_dataset", "robots/widowx")
_STANDINS = "STANDINS.md"  # beside assets that are not all the package's own: says which are not
_PAIRS = "robots/widowx/wx250s.srdf"  # says which of the arm's links do not touch each other
_CAMERA = "3rd_view_camera"
_DOWNLOAD = "PutCarrotOnPlateInScene-v1"  # with which all four tasks' assets come
_SAID = ("success", "is_src_obj_grasped", "src_on_target")  # of the package's `info`
# What that file says (ManiSkill-WidowX250S, v0.2.0), as groups within which no two links touch.
_UNTOUCHED = (
    ("base_link", "upper_arm_link"),
    ("gripper_link", "gripper_prop_link", "gripper_bar_link", "left_finger_link", "right_finger_link"),
)
_FIRST_BIT = 20  # of the groups' bits


class SimplerSimulation:
    """One task at a time. Everything that goes in and out can be sent."""

    def __init__(self) -> None:
        self._env: Any = None
        self._expert: Expert | None = None

    def about(self, assets: str | None) -> dict[str, Any]:
        """Versions, this package's source here, and the assets. Raises KinemaError for what is missing.

        assets: the folder that the package's downloads go to; None for the package's own
        """
        try:
            versions = {name: version(name) for name in _PACKAGES}
        except PackageNotFoundError as error:
            raise KinemaError(f"{error.name} is not installed in SimplerEnv's environment") from None
        return {"versions": versions, "source": source_digest(), "assets": _assets(assets)}

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Every task's sentence and steps, by the package's name of it."""
        from mani_skill.envs.tasks.digital_twins.bridge_dataset_eval import put_on_in_scene
        from mani_skill.utils.registration import REGISTERED_ENVS

        alone = SimpleNamespace(num_envs=1)  # all that a sentence is asked of
        return {
            name: {
                "instruction": spec.cls.get_language_instruction(alone)[0],
                "max_steps": int(spec.max_episode_steps),
            }
            for name, spec in REGISTERED_ENVS.items()
            if spec.cls.__module__ == put_on_in_scene.__name__
        }

    def draws(self) -> str:
        """On what pictures are drawn. Raises KinemaError where there is no Vulkan that can."""
        import sapien

        try:
            return str(sapien.render.RenderSystem().device.name)
        except Exception as error:  # whatever the driver raises
            raise KinemaError(
                f"SimplerEnv cannot draw here, there is no fitting Vulkan ({error}); without a graphics card "
                "install Mesa 25 and let VK_ICD_FILENAMES name its lvp_icd file, see docs/benchmarks.md"
            ) from None

    def open(self, task: str, shown_px: tuple[int, int], assets: str | None) -> dict[str, Any]:
        """Build a task; its sentence, its steps, and the conventions found in it.

        task:     as the package calls it
        shown_px: width and height that pictures are scaled to
        assets:   see `about`
        """
        self._whole = _assets(assets)["robot_as_downloaded"]
        import gymnasium

        about = self.tasks()[task]  # and so it is registered
        self._shown_px = tuple(shown_px)
        self._env = gymnasium.make(
            task, obs_mode="rgb+segmentation", num_envs=1, sim_backend="physx_cpu", render_backend="gpu"
        ).unwrapped
        self._complete()
        return about | {"conventions": asdict(_conventions(self._env))}

    def reset(self, start: int | None, seed: int) -> dict[str, Any]:
        """A configuration by its number, or a placement that the seed draws and that is none of them.

        The scene is built anew: what the arm of an episode did while things settle in the next one would
        otherwise decide where they lie.
        """
        env, self._expert = self._env, None
        fixed = env.xyz_configs, env.quat_configs
        if start is None:
            places, attitudes = (np.asarray(configurations) for configurations in fixed)
            env.xyz_configs, env.quat_configs = drawn(places, attitudes, np.random.default_rng(seed))
        env.reset(seed=seed, options={"episode_id": start or 0, "reconfigure": True})
        env.xyz_configs, env.quat_configs = fixed
        self._complete()
        return self._reading()

    def step(self, action: np.ndarray) -> dict[str, Any]:
        """One control step of a native action (7,), without a picture."""
        self._env._step_action(taken(action).astype(np.float32))
        return self._reading()

    def pictures(self) -> dict[str, np.ndarray]:
        """The package's picture with its overlay, scaled by the mean over areas: uint8 (height, width, 3)."""
        import cv2

        sensors = self._env.get_obs(self._info)["sensor_data"]
        picture = sensors[_CAMERA]["rgb"][0].numpy().astype(np.uint8)
        return {_CAMERA: cv2.resize(picture, self._shown_px, interpolation=cv2.INTER_AREA)}

    def expert_action(self) -> np.ndarray:
        """What the scripted expert does from here, (7,)."""
        self._expert = self._expert or Expert(self._env)
        return self._expert.act()

    def pointed(self) -> dict[str, Any]:
        """World positions (2, 3) [m] of what is taken and of where it goes, and how the camera stands."""
        env = self._env
        camera = env._sensors[_CAMERA].camera
        T_world_camera = camera.get_model_matrix()[0].numpy()  # looks along its own -z
        things = (env.objs[env.source_obj_name], env.objs[env.target_obj_name])
        return {
            "points_m": np.stack([thing.pose.p[0].numpy() for thing in things]).astype(np.float64),
            "position_m": T_world_camera[:3, 3].astype(np.float64),
            "R_world_camera": T_world_camera[:3, :3].astype(np.float64),
            "fovy_rad": float(2 * np.arctan(camera.height / (2 * camera.get_intrinsic_matrix()[0, 1, 1]))),
            "aspect": camera.width / camera.height,
        }

    def processor_s(self) -> float:
        """Processor time of this process so far."""
        return time.process_time()

    def _reading(self) -> dict[str, Any]:
        """What is measured, and what the package says of the task (its `info`, as numbers)."""
        self._info = self._env.get_info()
        T_robot_tool = tool(self._env.agent.controller.controllers["arm"].ee_pose_at_base)
        return {
            "position_m": T_robot_tool[:3, 3],
            "R_robot_tool": T_robot_tool[:3, :3],
            "fingers_m": self._env.agent.robot.get_qpos()[0, -2:].numpy().astype(np.float64),
            **{name: bool(self._info[name][0]) for name in _SAID},
        }

    def _complete(self) -> None:
        """What assets without the robot's list of pairs leave out: its links would push each other away."""
        if self._whole:
            return
        for bit, names in enumerate(_UNTOUCHED, _FIRST_BIT):
            for name in names:
                self._env.agent.robot.links_map[name].set_collision_group_bit(group=2, bit_idx=bit, bit=1)


def _assets(folder: str | None) -> dict[str, Any]:
    """Make the package look there, and what lies there. Raises KinemaError for what is missing.

    To be called before the package is imported, which looks at it once.
    """
    if folder is not None:
        os.environ["MS_ASSET_DIR"] = folder
    os.environ["MS_SKIP_ASSET_DOWNLOAD_PROMPT"] = "1"
    root = Path(os.environ.get("MS_ASSET_DIR") or Path.home() / ".maniskill")
    for needed in _NEEDED:
        if not (root / _DATA / needed).is_dir():
            raise KinemaError(
                f"SimplerEnv's assets are missing: no {root / _DATA / needed}; name their folder with "
                f"--assets, or download them: {sys.executable} -m mani_skill.utils.download_asset {_DOWNLOAD}"
            )
    digest = blake2b(digest_size=16)
    for path in sorted(path for needed in _NEEDED for path in (root / _DATA / needed).rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(root).as_posix().encode() + blake2b(path.read_bytes()).digest())
    standins = root / _STANDINS
    return {
        "digest": digest.hexdigest(),
        "stand_ins": standins.read_text() if standins.is_file() else "none",
        "robot_as_downloaded": (root / _DATA / _PAIRS).is_file(),
    }


def _conventions(env: Any) -> Conventions:
    """Tried out on the running controller, which is to be reset."""
    env.reset(seed=0)
    arm, gripper = (env.agent.controller.controllers[name] for name in ("arm", "gripper"))

    def tried(pose: np.ndarray, opening: float) -> np.ndarray:
        """How the target moves and turns (6,) by a native action."""
        before = matrix(arm._target_pose)
        env._step_action(taken(np.append(pose, opening)).astype(np.float32))
        after = matrix(arm._target_pose)
        turn = rotvec_from_matrix(after[:3, :3] @ before[:3, :3].T)
        return np.concatenate([after[:3, 3] - before[:3, 3], turn])

    moves = [tried(row, 1.0) for row in TRIED * np.eye(6)]
    turns = tried(np.array([0.0, 0.0, 0.0, *TURNED]), 1.0)[3:]
    fingers_m = []
    for opening in (0.0, 1.0):
        tried(np.zeros(6), opening)
        fingers_m.append(float(gripper._target_qpos[0, 0]))
    env.agent.robot.set_qpos(np.array([*POSTURE_RAD, *env.agent.robot.get_qpos()[0, -2:]]))
    T_robot_tool = tool(arm.ee_pose_at_base)
    turn = rotvec_from_matrix(T_robot_tool[:3, :3] @ home_rotation(load_card(CARD).arms[0]).T)
    camera = env._sensors[_CAMERA].camera
    return Conventions(
        control_hz=float(env.control_freq),
        moves=tuple(map(rounded, moves)),
        turns=rounded(turns),
        fingers=rounded(fingers_m),
        tool=rounded([*T_robot_tool[:3, 3], *turn]),
        cameras=tuple(env._sensors),
        picture_px=(camera.width, camera.height),
    )
