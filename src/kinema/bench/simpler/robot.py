"""Poses of ManiSkill's WidowX as the card has them. Runs in SimplerEnv's own environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from kinema.space.rotation import matrix_from_quat

# The card's tool (z ahead, y along the jaws) in the package's frame of it (x ahead).
_TOOL = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])


def matrix(pose: Any) -> np.ndarray:
    """A pose of the package, of its first environment, as (4, 4)."""
    T = np.eye(4)
    T[:3, :3] = matrix_from_quat(pose.q[0].numpy().astype(np.float64))
    T[:3, 3] = pose.p[0].numpy()
    return T


def tool(pose: Any) -> np.ndarray:
    """The card's tool (4, 4) for a pose of the package's end effector, in the same frame."""
    T = matrix(pose)
    T[:3, :3] = T[:3, :3] @ _TOOL
    return T
