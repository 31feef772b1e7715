"""What LIBERO's things collide with: oriented boxes, as the simulator has them now. World positions [m]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_SIGNS = np.array(np.meshgrid(*[[-1, 1]] * 3, indexing="ij")).reshape(3, -1).T
_PLANE = 0  # of MuJoCo's kinds of geoms
_SLAB_M = np.array([5.0, 5.0, 0.05])  # half sizes of what stands for an endless floor


@dataclass(frozen=True)
class Boxes:
    """N boxes: centers (N, 3), half sizes (N, 3), and rotations (N, 3, 3) from their axes to the world."""

    centers: np.ndarray
    halves: np.ndarray
    rotations: np.ndarray

    def __len__(self) -> int:
        return len(self.centers)

    @property
    def corners(self) -> np.ndarray:
        """(8 N, 3)"""
        offsets = np.einsum("nij,snj->nsi", self.rotations, _SIGNS[:, None] * self.halves)
        return np.asarray((self.centers[:, None] + offsets).reshape(-1, 3))

    @property
    def middle_m(self) -> np.ndarray:
        return np.asarray((self.corners.min(0) + self.corners.max(0)) / 2)

    @property
    def bottom_m(self) -> float:
        return float(self.corners[:, 2].min())

    @property
    def top_m(self) -> float:
        return float(self.corners[:, 2].max())

    def surface(self, spacing_m: float) -> np.ndarray:
        """Points (P, 3) on all sides, no farther apart than the spacing."""
        return self.surface_near(self.middle_m, np.inf, spacing_m)

    def surface_near(self, point: np.ndarray, radius_m: float, spacing_m: float) -> np.ndarray:
        """Of those points the ones within the radius."""
        found = [np.zeros((0, 3))]
        for center, half, rotation in zip(self.centers, self.halves, self.rotations, strict=True):
            local = rotation.T @ (point - center)
            low, high = np.maximum(-half, local - radius_m), np.minimum(half, local + radius_m)
            if (low > high).any():
                continue
            counts = np.ceil((high - low) / spacing_m).astype(int) + 1
            lines = [np.linspace(*span) for span in zip(low, high, counts, strict=True)]
            grid = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
            outside = (np.abs(grid) > half - 1e-9).any(-1)
            found.append(grid[outside] @ rotation.T + center)
        points = np.concatenate(found)
        return np.asarray(points[np.linalg.norm(points - point, axis=1) < radius_m])


def thing(env: Any, name: str) -> Boxes:
    """A movable thing or a piece of furniture with all its parts."""
    root = env.sim.model.body_rootid[env.env.obj_body_id[name]]
    return _boxes(env, lambda body: env.sim.model.body_rootid[body] == root)


def of_body(env: Any, body: int) -> Boxes:
    """One body alone."""
    return _boxes(env, lambda other: other == body)


def scene(env: Any, without: str | None = None) -> Boxes:
    """All but the robot and one thing."""
    model = env.sim.model
    (robot,) = env.robots
    left_out = {int(model.body_rootid[model.body_name2id(robot.robot_model.root_body)])}
    if without is not None:
        left_out.add(int(model.body_rootid[env.env.obj_body_id[without]]))
    return _boxes(env, lambda body: int(model.body_rootid[body]) not in left_out)


def _boxes(env: Any, of_body: Callable[[int], bool]) -> Boxes:
    model, data = env.sim.model, env.sim.data
    collides = np.flatnonzero((model.geom_contype != 0) | (model.geom_conaffinity != 0))
    kept = [g for g in collides if of_body(int(model.geom_bodyid[g]))]
    flat = (model.geom_type[kept] == _PLANE)[:, None]
    centers = np.where(flat, -_SLAB_M * [0, 0, 1], model.geom_aabb[kept, :3])
    rotations = data.geom_xmat[kept].reshape(-1, 3, 3)
    return Boxes(
        data.geom_xpos[kept] + np.einsum("nij,nj->ni", rotations, centers),
        np.where(flat, _SLAB_M, model.geom_aabb[kept, 3:]),
        rotations,
    )
