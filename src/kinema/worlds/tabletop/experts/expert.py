"""From a family's tool targets to a clean native action for the present state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kinema.space.rotation import rotvec_from_matrix
from kinema.worlds.tabletop.experts.motion import ToolTarget
from kinema.worlds.tabletop.scene import Scene

if TYPE_CHECKING:
    from kinema.worlds.tabletop.env import TabletopEnv


class Expert:
    """Says what to do now. Holds no memory, so it can label any state that anything else led to."""

    def __init__(self, env: TabletopEnv, seed: int = 0) -> None:
        """`seed` is accepted for experts with choices; these have none."""
        self._env = env

    def act(self) -> np.ndarray:
        """The clean native action (D,) float64 for the present state."""
        scene = self._env.scene
        targets = self._env.task.plan(scene)
        parts = [
            self._arm_action(scene, handle.side, targets.get(handle.side)) for handle in scene.robot.arms
        ]
        return scene.controller.clamp(np.concatenate(parts))

    def _arm_action(self, scene: Scene, side: str, target: ToolTarget | None) -> np.ndarray:
        controller, handle = scene.controller, scene.robot.arm(side)
        if scene.card.control == "ee_pose":
            if target is None:
                rotation = scene.data.site_xmat[handle.tool_site].reshape(3, 3)
                rotvec = rotvec_from_matrix(rotation @ controller.home_rotation[side].T)
                return np.concatenate([scene.tool(side) - controller.origin_m, rotvec, [1.0]])
            position = target.position_m - controller.origin_m
            return np.concatenate([position, np.zeros(3), [target.opening]])
        if target is None:
            return np.concatenate([handle.home, [1.0]])
        measured = scene.data.qpos[handle.qpos]
        joints = controller.kinematics.solve(
            side,
            target.position_m - controller.origin_m,
            controller.home_rotation[side],
            measured,
            iterations=20,
        )
        return np.concatenate([joints, [target.opening]])
