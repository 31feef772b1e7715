"""A jointed hand around the grasp frame that the physics moves: drawn bone by bone, felt as two pads.

How far the pads are apart says the posture, between a pinch and an open pinch, and the wrist is where the
tips of thumb and index then meet the pads.
"""

from __future__ import annotations

import mujoco
import numpy as np

from kinema.space.hand_posture import points_of, posture
from kinema.worlds.body.robots import NEVER_COLLIDES

_TIP_RADIUS_M = 0.008
_BONES = [
    (a, b) for f in range(5) for a, b in zip((0, *range(4 * f + 1, 4 * f + 4)), range(4 * f + 1, 4 * f + 5))
]
_RADII_M = [0.012 if a == 0 else 0.0095 if i % 4 == 1 else _TIP_RADIUS_M for i, (a, _) in enumerate(_BONES)]
_PINCH, _OPEN = posture("pinch"), posture("open pinch")
_THUMB_TIP, _INDEX_TIP = 4, 8
_SHARES = np.linspace(0.0, 1.0, 41)


class JointedHand:
    """Draws the bones in the palm's frame. Built before the model is compiled, bound after."""

    def add(self, spec: mujoco.MjSpec) -> None:
        palm = spec.body("right/palm")
        for i, radius in enumerate(_RADII_M):
            palm.add_geom(
                name=f"bone/{i}",
                type=mujoco.mjtGeom.mjGEOM_CAPSULE,
                size=[radius, 0.02, 0],
                # a geom that is compiled into its body's own frame would stay there
                pos=[0.01, 0.01, 0.01],
                quat=[0.9, 0.1, 0.2, 0.3],
                mass=0.0,
                **NEVER_COLLIDES,
            )

    def bind(self, model: mujoco.MjModel) -> None:
        self.geoms = np.array([model.geom(f"bone/{i}").id for i in range(len(_BONES))])

    def pose(self, model: mujoco.MjModel, gap_m: float) -> tuple[np.ndarray, np.ndarray]:
        """Bend the fingers around this gap: the angles (20,), and the wrist in the tool's frame (4, 4)."""
        angles = angles_for(gap_m)
        points = points_of(angles)
        T_tool_wrist = _wrist_for(points)
        points = points @ T_tool_wrist[:3, :3].T + T_tool_wrist[:3, 3]
        for geom, (a, b), radius in zip(self.geoms, _BONES, _RADII_M):
            way = points[b] - points[a]
            half = float(np.linalg.norm(way)) / 2
            model.geom_pos[geom] = (points[a] + points[b]) / 2
            mujoco.mju_quatZ2Vec(model.geom_quat[geom], way)
            model.geom_size[geom] = [radius, half, 0.0]
            model.geom_rbound[geom] = half + radius
        return angles, T_tool_wrist


def angles_for(gap_m: float) -> np.ndarray:
    """The angles (20,) at which the pads of thumb and index are this far apart."""
    share = float(np.interp(gap_m + 2 * _TIP_RADIUS_M, _APART_M, _SHARES))
    return (1 - share) * _PINCH + share * _OPEN


def _apart_m(share: float) -> float:
    points = points_of((1 - share) * _PINCH + share * _OPEN)
    return float(np.linalg.norm(points[_THUMB_TIP] - points[_INDEX_TIP]))


_APART_M = np.array([_apart_m(share) for share in _SHARES])


def _wrist_for(points: np.ndarray) -> np.ndarray:
    """The wrist in the tool's frame (4, 4): the tips on its y, its origin between them, the wrist behind."""
    middle = (points[_THUMB_TIP] + points[_INDEX_TIP]) / 2
    y = points[_INDEX_TIP] - points[_THUMB_TIP]
    y = y / np.linalg.norm(y)
    z = middle - (middle @ y) * y
    z = z / np.linalg.norm(z)
    T = np.eye(4)
    T[:3, :3] = np.stack([np.cross(y, z), y, z])  # rows: the tool's axes in the wrist's frame
    T[:3, 3] = -T[:3, :3] @ middle
    return T
