"""The package's own task on a bare table: stands in for its downloads, and for nothing else."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from robocasa_gr1.environments.tabletop.tabletop import Tabletop
from robocasa_gr1.utils.gym_utils import gymnasium_groot
from robosuite.environments.manipulation.manipulation_env import ManipulationEnv
from robosuite.models.arenas import TableArena
from robosuite.models.tasks import ManipulationTask

from kinema.bench.gr1.simulation import ROBOT, Gr1Simulation


class TurnLeft(Tabletop):
    """Succeeds while the waist is turned to the left."""

    def _load_model(self) -> None:
        ManipulationEnv._load_model(self)
        body = self.robots[0].robot_model
        body.set_base_xpos(body.base_xpos_offset["table"](0.8))
        if stretched := os.environ.get("TOY_STRETCHED"):
            body.root.find(".//body[@name='robot0_l_hand_yaw']").set("pos", stretched)
        self.mujoco_arena = TableArena()
        self.set_cameras()
        self.layout_id = self.style_id = 0
        self.colour = float(self.rng.uniform())  # stands for what a scene draws
        self.mujoco_arena.table_visual.set("rgba", f"{self.colour} 0.5 0.5 1")
        self.mujoco_arena.table_visual.attrib.pop("material", None)
        self.fixtures, self.fixture_refs, self.objects = {}, {}, {}
        self.object_cfgs: list[Any] = []
        self._curr_gen_fixtures = self.placement_initializer = None
        self.model = ManipulationTask(mujoco_arena=self.mujoco_arena, mujoco_robots=[body], mujoco_objects=[])

    def _check_success(self) -> bool:
        return bool(self.sim.data.get_joint_qpos("robot0_torso_waist_yaw") > 0.2)

    def get_ep_meta(self) -> dict[str, Any]:
        return super().get_ep_meta() | {"lang": f"turn left at {self.colour:.6f}"}


gymnasium_groot.create_grootrobocasa_env_class("TurnLeft", ROBOT, "gr1_arms_waist_fourier_hands")


class ToySimulation(Gr1Simulation):
    """Plays without assets, and can play what the package's own environment gives."""

    def check_assets(self) -> None:
        return

    def as_the_package_gives_it(self, seed: int, steps: list[dict[str, np.ndarray]]) -> dict[str, Any]:
        """The last observation of the environment as the package made it, after these steps."""
        env = self._env
        del env.get_basic_observation, env.get_groot_observation
        env.env.rng = np.random.default_rng(seed)
        seen, info = env.reset(seed=seed)
        for parts in steps:
            seen, _, _, _, info = env.step({f"action.{key}": values for key, values in parts.items()})
        sentence = seen.pop("annotation.human.coarse_action")
        return {"seen": dict(seen), "instruction": sentence, "success": bool(info["success"])}
