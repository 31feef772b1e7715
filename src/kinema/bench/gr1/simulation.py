"""RoboCasa-GR1 itself. Runs in its own environment (`scripts/setup_gr1.sh`), called by `Gr1Env`.

Scenes, sentences, controllers and success test are the package's gymnasium environment, which GR00T's
evaluation steps. Only its pictures are left to be drawn when they are asked for, not after every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from kinema.bench.gr1.conventions import CAMERA, KEYS, PICTURE, Conventions, rounded
from kinema.schema import KinemaError
from kinema.versions import source_digest

ROBOT = "GR1ArmsAndWaistFourierHands"
_PACKAGES = ("praxis-robocasa-gr1", "praxis-robosuite", "mujoco", "numpy", "gymnasium")
_ASSETS = ("textures", "fixtures/microwaves/pack_1/visuals", "objects/objaverse", "objects/sketchfab",
           "objects/lightwheel")  # fmt: skip
_PARTS = {"left_arm": "left", "right_arm": "right", "waist": "torso"}  # the simulator's, by the package's key


class Gr1Simulation:
    """One task at a time. Everything that goes in and out can be sent."""

    def about(self) -> dict[str, Any]:
        """Versions, and the digest of this package's source here. Raises KinemaError for what is missing."""
        try:
            versions = {name: version(name) for name in _PACKAGES}
        except PackageNotFoundError as error:
            raise KinemaError(f"{error.name} is not installed in RoboCasa-GR1's environment") from None
        return {"versions": versions, "source": source_digest()}

    def check_assets(self) -> None:
        """Raises KinemaError where the package's downloads are not there."""
        from robocasa_gr1.models import assets_root

        folder = Path(assets_root).resolve()
        if missing := [name for name in _ASSETS if not (folder / name).is_dir()]:
            raise KinemaError(
                f"RoboCasa-GR1's assets are missing: no {', '.join(missing)} in {folder}; "
                "get them with python -m robocasa_gr1.scripts.download_tabletop_assets -y in its environment"
            )

    def tasks(self) -> list[str]:
        """Every task of the package, judged or not."""
        import gymnasium
        from robocasa_gr1.utils.gym_utils import gymnasium_groot  # noqa: F401 - registers them

        names = [name for name in gymnasium.registry if name.startswith("gr1_unified/")]
        return [name.removeprefix("gr1_unified/").removesuffix(f"_{ROBOT}_Env") for name in names]

    def open(self, task: str) -> None:
        """Choose a task and build its first scene. Raises KinemaError where the downloads are missing."""
        import gymnasium
        from robocasa_gr1.utils.gym_utils import gymnasium_groot

        self.check_assets()
        name = f"gr1_unified/{task}_{ROBOT}_Env"
        self._env: Any = gymnasium.make(name, disable_env_checker=True).unwrapped
        self._cut = gymnasium_groot.GrootRoboCasaEnv.process_img_cotrain
        # What the environment makes of its raw observation is made here, when it is asked for.
        self._env.get_basic_observation = self._env.get_groot_observation = lambda raw: raw

    def reset(self, seed: int) -> dict[str, Any]:
        """A scene, its start and its sentence, drawn by the seed: the package's generator and numpy's."""
        self._env.env.rng = np.random.default_rng(seed)
        self._env.reset(seed=seed % 2**32)
        self._env.env.modify_observable(f"{CAMERA}_image", "enabled", False)  # a reset makes them anew
        sentence = self._env.env.get_ep_meta()["lang"]
        return {
            **self._reading(success=False),
            "instruction": f"unlocked_waist: {sentence}",  # as the package tells it to policies of this body
            "conventions": asdict(_conventions(self._env)),
        }

    def step(self, parts: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """One step to joint targets [rad] by the package's keys, and its own test of success."""
        _, _, _, _, info = self._env.step(
            {f"action.{key}": np.array(values) for key, values in parts.items()}
        )
        return self._reading(success=bool(info["success"]))

    def picture(self) -> np.ndarray:
        """What the robot sees, cut as GR00T is shown it: uint8 (256, 256, 3), the top row first."""
        _, _, width, height = self._env.key_converter.get_camera_config()
        whole = self._env.env.sim.render(camera_name=CAMERA, width=width, height=height)
        return np.array(self._cut(whole[::-1]))

    def _reading(self, *, success: bool) -> dict[str, Any]:
        from robocasa_gr1.models.robots import gather_robot_observations

        told = self._env.key_converter.map_obs(gather_robot_observations(self._env.env))
        measured = {key.split(".")[1]: values for key, values in told.items()}
        return {"state": np.concatenate([measured[key] for key in KEYS]), "success": success}


def _conventions(env: Any) -> Conventions:
    """Read off the robot and the camera of a scene."""
    (robot,), model = env.env.robots, env.env.sim.model._model
    joints = {key: robot._ref_joints_indexes_dict[part] for key, part in _PARTS.items()}
    controllers = robot.part_controllers
    hands = [_hand(robot, model, side) for side in ("left", "right")]
    space = env.observation_space[PICTURE]
    return Conventions(
        hz=(round(env.env.control_freq), round(1 / model.opt.timestep)),
        absolute=all(controllers[part].input_type == "absolute" for part in _PARTS.values())
        and not any(controllers[f"{side}_gripper"].use_action_scaling for side in ("left", "right")),
        joints={key: tuple(_joint(model, joint) for joint in those) for key, those in joints.items()},
        places_m={key: _places(model, those, base=key != "waist") for key, those in joints.items()},
        fingers=tuple(driven for fingers, _ in hands for driven in fingers),
        bent_rad=tuple(bent for _, bends in hands for bent in bends),
        camera_m=_camera(env.env.sim.data._data, model, joints["waist"][-1]),
        pictures=(("ego_view", space.shape[1], space.shape[0]),),
    )


def _joint(model: Any, joint: int) -> tuple[str, float, float]:
    low, high = rounded(model.jnt_range[joint])
    return model.joint(joint).name.removeprefix("robot0_"), low, high


def _places(model: Any, joints: list[int], *, base: bool) -> tuple[tuple[float, ...], ...]:
    bodies = [model.jnt_bodyid[joint] for joint in joints]
    bodies = [model.body_parentid[bodies[0]], *bodies] if base else bodies
    return tuple(rounded(model.body_pos[body]) for body in bodies)


def _hand(robot: Any, model: Any, side: str) -> tuple[list[tuple[str, ...]], list[float]]:
    """What each value of a hand drives, its state's joint first, and the largest target heeded."""
    from robocasa_gr1.models.robots import unformat_gripper_space

    gripper, part = robot.gripper[side], f"{side}_gripper"
    names = np.array([_finger(model, joint) for joint in robot._ref_joints_indexes_dict[part]])
    states = unformat_gripper_space(gripper, names)[::-1]
    actuators = robot._ref_actuators_indexes_dict[part]
    values = gripper.format_action(np.arange(gripper.dof))
    fingers, bends = [], []
    for i, state in enumerate(states):
        driven = [actuator for actuator, value in zip(actuators, values) if value == i]
        others = {_finger(model, model.actuator_trnid[actuator, 0]) for actuator in driven} - {str(state)}
        fingers.append((str(state), *sorted(others)))
        bends.append(round(float(model.actuator_ctrlrange[driven, 1].max()), 3))
    return fingers, bends


def _finger(model: Any, joint: int) -> str:
    """`gripper0_left_L_pinky_proximal_joint` is our `pinky_proximal`."""
    return str(model.joint(joint).name.split("_", 3)[3].removesuffix("_joint"))


def _camera(data: Any, model: Any, joint: int) -> tuple[float, ...]:
    link = model.jnt_bodyid[joint]
    place = data.cam_xpos[model.camera(CAMERA).id] - data.xpos[link]
    return rounded(data.xmat[link].reshape(3, 3).T @ place)
