"""RoboTwin itself. Runs in its own environment (`scripts/setup_robotwin.sh`), called by `RobotwinEnv`.

Scenes, expert, sentences, controller, step limits and success test are the package's, as they are; an
episode begins as in its authors' evaluation, whose script the package leaves out.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kinema.bench.robotwin.conventions import CAMERAS_PX, Conventions, to_mm
from kinema.schema import KinemaError
from kinema.versions import source_digest

ASSETS = "ROBOTWIN_ASSETS_ROOT"  # the package's own variable
FIRST_SEED = 100_000  # of the evaluation; demonstrations have smaller ones
CONFIGURATIONS = {"clean": "demo_clean", "randomized": "demo_randomized"}
_PACKAGES = ("rlinf-robotwin-runtime", "sapien", "mplib", "numpy", "torch")
_MOST_BROKEN = 20
_SENTENCES = 100  # that are made for an episode, of which one is drawn


class RobotwinSimulation:
    """One task at a time. Everything that goes in and out can be sent."""

    def __init__(self) -> None:
        self._task: Any = None
        self._solvable: list[tuple[int, dict[str, str]]] = []  # seeds, and what their sentences are made of
        self._next_seed = FIRST_SEED
        self._broken = 0  # scenes in a row

    def about(self) -> dict[str, Any]:
        """Versions, and the digest of this package's source here. Raises KinemaError for what is missing."""
        try:
            versions = {name: version(name) for name in _PACKAGES}
        except PackageNotFoundError as error:
            raise KinemaError(f"{error.name} is not installed in RoboTwin's environment") from None
        return {"versions": versions, "source": source_digest()}

    def limits(self) -> dict[str, int]:
        """Every task and how many actions it may take."""
        from robotwin.config import load_task_config

        return {str(task): int(limit) for task, limit in load_task_config("_eval_step_limit").items()}

    def assets(self) -> dict[str, Any]:
        """Which assets are installed. Raises KinemaError where there are none, or not all."""
        from robotwin.assets import validate_root

        root = os.environ.get(ASSETS)
        if not root:
            raise KinemaError(
                f"RoboTwin's assets are missing: {ASSETS} names no folder; "
                "get them with robotwin-download-assets --output FOLDER in its environment"
            )
        try:
            found = validate_root(root)
        except ValueError as error:
            raise KinemaError(f"{ASSETS}: {error}") from None
        os.environ["ASSETS_PATH"] = found["root"]
        return {"repository": found["repository"], "revision": found["revision"]}

    def open(self, task: str, configuration: str) -> None:
        """Choose a task; nothing is built before the first episode.

        configuration: one of CONFIGURATIONS
        """
        self.assets()
        try:
            module = import_module(f"robotwin.envs.{task}")
        except ImportError as error:
            raise KinemaError(f"RoboTwin's task {task} cannot be imported: {error}") from None
        self._name, self._make = task, getattr(module, task)
        self._settings = _settings(task, CONFIGURATIONS[configuration], Path(os.environ["ASSETS_PATH"]))

    def reset(self, index: int) -> dict[str, Any]:
        """The episode of this number: that many seeds before it are solved by the package's own expert.

        Its sentence is drawn from those that the evaluation keeps unseen, by the scene's own seed.
        """
        from robotwin.description import generate_episode_descriptions

        while len(self._solvable) <= index:
            self._try_next_seed()
        seed, named = self._solvable[index]
        self._build(index, seed)
        told = generate_episode_descriptions(self._name, [named], _SENTENCES, seed)
        sentence = np.random.default_rng(seed).choice(told[0]["unseen"])
        return {
            **self._reading(),
            "instruction": str(sentence),
            "seed": seed,
            "conventions": asdict(_conventions(self._task)),
        }

    def step(self, action: np.ndarray) -> dict[str, Any]:
        """One action (14,), played along a path that the package times; success as it tests it on the way."""
        self._task.take_action(action)
        return self._reading()

    def pictures(self) -> dict[str, np.ndarray]:
        """By camera, uint8 (height, width, 3), the top row first."""
        self._task._update_render()
        self._task.cameras.update_picture()
        return {name: np.array(seen["rgb"]) for name, seen in self._task.cameras.get_rgb().items()}

    def _reading(self) -> dict[str, Any]:
        robot = self._task.robot
        state = [*robot.get_left_arm_jointState(), *robot.get_right_arm_jointState()]
        return {"state": np.array(state, np.float64), "success": bool(self._task.eval_success)}

    def _try_next_seed(self) -> None:
        """As the evaluation does: what does not stand, or what the expert does not solve, is left out.

        Raises KinemaError when one scene after the other could not even be tried.
        """
        seed, self._next_seed = self._next_seed, self._next_seed + 1
        try:
            self._build(len(self._solvable), seed)
            named = self._task.play_once()["info"]
            solved = self._task.plan_success and self._task.check_success()
        except Exception as error:  # whatever the package raises: its evaluation takes the next seed, too
            self._broken += 1
            if self._broken == _MOST_BROKEN:
                raise KinemaError(
                    f"RoboTwin could not try {self._name} with any seed from {seed - _MOST_BROKEN + 1} to "
                    f"{seed}; the last: {type(error).__name__}: {error}"
                ) from None
            return
        self._broken = 0
        if solved:
            self._solvable.append((seed, named))

    def _build(self, number: int, seed: int) -> None:
        if self._task is not None:
            self._task.close_env()
        self._task = self._make()
        self._task.setup_demo(now_ep_num=number, seed=seed, is_test=True, **self._settings)


def _settings(task: str, configuration: str, root: Path) -> dict[str, Any]:
    """What the evaluation hands to a task, of the package's own configuration files."""
    from robotwin.config import load_task_config

    settings = load_task_config(configuration)
    (body,) = settings["embodiment"]
    folder = root / load_task_config("_embodiment_config")[body]["file_path"]
    camera = load_task_config("_camera_config")[settings["camera"]["head_camera_type"]]
    about_body = yaml.safe_load((folder / "config.yml").read_text())
    return settings | {
        "task_name": task,
        "left_robot_file": str(folder),
        "right_robot_file": str(folder),
        "left_embodiment_config": about_body,
        "right_embodiment_config": about_body,
        "dual_arm_embodied": True,
        "head_camera_h": camera["h"],
        "head_camera_w": camera["w"],
        "eval_mode": True,
        "eval_video_log": False,
        "render_freq": 0,
    }


def _conventions(task: Any) -> Conventions:
    """Read off the robot and the cameras of a scene."""
    robot, cameras = task.robot, task.cameras
    drawn = dict(zip(cameras.static_camera_name, cameras.static_camera_list, strict=True))
    drawn |= {"left_camera": cameras.left_camera, "right_camera": cameras.right_camera}
    return Conventions(
        physics_hz=round(1 / task.scene.get_timestep()),
        kept_of=int(task.save_freq),
        joints=(
            *(f"left_{joint.get_name().removeprefix('fl_')}" for joint in robot.left_arm_joints),
            "left_gripper",
            *(f"right_{joint.get_name().removeprefix('fr_')}" for joint in robot.right_arm_joints),
            "right_gripper",
        ),
        gripper_m=tuple(robot.left_gripper_scale),
        places_m=tuple(
            to_mm(place)
            for joints in (robot.left_arm_joints, robot.right_arm_joints)
            for place in (joints[0].parent_link.get_pose().p, *(j.get_pose_in_parent().p for j in joints))
        ),
        cameras=tuple((name, drawn[name].width, drawn[name].height) for name in CAMERAS_PX),
    )
