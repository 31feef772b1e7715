"""Done when both grippers are told to close. Every third seed falls over, odd ones are not solved."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import numpy as np

OFFSETS_M = {  # mobile_aloha_sim's URDF
    "joint1": (0, 0, 0.0603),
    "joint2": (0.02, 0, 0.0402),
    "joint3": (-0.264, 0, 0),
    "joint4": (0.245, 0, -0.056),
    "joint5": (0.06575, -0.001, -0.0825),
    "joint6": (0.02845, 0, 0.0825),
}
BASES_M = {"fl": (-0.3, -0.417, 0.7775), "fr": (0.307, -0.417, 0.7775)}
# Another body where told so.
STRETCHED_M = float(os.environ.get("TOY_STRETCHED_M", "0"))


def joint(side: str, name: str, offset_m: tuple[float, float, float]) -> SimpleNamespace:
    return SimpleNamespace(
        get_name=lambda: f"{side}_{name}",
        get_pose_in_parent=lambda: SimpleNamespace(p=np.add(offset_m, (STRETCHED_M, 0, 0))),
        parent_link=SimpleNamespace(get_pose=lambda: SimpleNamespace(p=np.array(BASES_M[side]))),
    )


class Robot:
    left_gripper_scale = (-0.01, 0.045)

    def __init__(self) -> None:
        self.told = np.zeros(14)
        self.left_arm_joints = [joint("fl", *named) for named in OFFSETS_M.items()]
        self.right_arm_joints = [joint("fr", *named) for named in OFFSETS_M.items()]

    def get_left_arm_jointState(self) -> list[float]:  # noqa: N802 - the package's name
        return list(self.told[:7])

    def get_right_arm_jointState(self) -> list[float]:  # noqa: N802 - the package's name
        return list(self.told[7:])


class Cameras:
    def __init__(self) -> None:
        self.left_camera = self.right_camera = SimpleNamespace(width=320, height=240)
        self.static_camera_name, self.static_camera_list = ["head_camera"], [self.left_camera]

    def update_picture(self) -> None:
        self.drawn = {
            name: {"rgb": np.full((240, 320, 3), shade, np.uint8)}
            for name, shade in (("left_camera", 10), ("right_camera", 20), ("head_camera", 30))
        }

    def get_rgb(self) -> dict[str, dict[str, np.ndarray]]:
        return self.drawn


class touch:  # noqa: N801 - the package's way to name a task
    def setup_demo(self, now_ep_num: int, seed: int, is_test: bool, **settings: Any) -> None:
        assert is_test
        assert settings["eval_mode"]
        assert settings["left_embodiment_config"] == {"urdf_path": "x"}
        if seed % 3 == 0:
            raise RuntimeError("it fell over")
        self.seed, self.save_freq = seed, settings["save_freq"]
        self.robot, self.cameras = Robot(), Cameras()
        self.scene = SimpleNamespace(get_timestep=lambda: 1 / 250)
        self.plan_success, self.eval_success = True, False

    def play_once(self) -> dict[str, Any]:
        return {"info": {"{A}": f"thing {self.seed}"}}

    def check_success(self) -> bool:
        return self.seed % 2 == 0

    def take_action(self, action: np.ndarray) -> None:
        self.robot.told = np.array(action)
        self.eval_success = bool(action[6] < 0.2 and action[13] < 0.2)

    def _update_render(self) -> None: ...

    def close_env(self) -> None: ...
