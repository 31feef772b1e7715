"""SimplerEnv played by servers of openpi's protocol, in the words that BridgeData's policies use.

State and actions are those of SimplerEnv's openpi client (its fork's `policies/openpi`, `widowx_bridge`).
"""

from __future__ import annotations

import numpy as np

from kinema.runtime.openpi_policy import OpenpiPolicy
from kinema.schema import Observation
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix


class SimplerServer(OpenpiPolicy):
    """Asks a server that was made for BridgeData's WidowX."""

    def state(self, observation: Observation) -> np.ndarray:
        """Eight numbers in place of the card's seven."""
        return bridge_state(observation.state)

    def native(self, values: np.ndarray) -> np.ndarray:
        """From roll, pitch and yaw, and an opening that is either or."""
        return native_actions(values)


def bridge_state(state: np.ndarray) -> np.ndarray:
    """Position [m], roll, pitch and yaw [rad] from straight down, a zero, the opening: float32 (8,).

    state: the card's, (7,)
    """
    R = matrix_from_rotvec(np.asarray(state[3:6], np.float64))
    return np.concatenate([state[:3], roll_pitch_yaw(R), [0.0], state[6:]]).astype(np.float32)


def native_actions(values: np.ndarray) -> np.ndarray:
    """The card's actions (T, 7) for displacements [m], roll, pitch and yaw [rad] and an opening (T, 7)."""
    turns = np.stack([rotvec_from_matrix(matrix_from_roll_pitch_yaw(row[3:6])) for row in values])
    return np.concatenate([values[:, :3], turns, values[:, 6:] > 0.5], axis=1)


def roll_pitch_yaw(R: np.ndarray) -> np.ndarray:
    """Angles about the fixed x, then y, then z (3,) [rad] of a rotation whose pitch is no right angle."""
    return np.array(
        [np.arctan2(R[2, 1], R[2, 2]), -np.arcsin(np.clip(R[2, 0], -1, 1)), np.arctan2(R[1, 0], R[0, 0])]
    )


def matrix_from_roll_pitch_yaw(angles: np.ndarray) -> np.ndarray:
    """The inverse of `roll_pitch_yaw`."""
    roll, pitch, yaw = (matrix_from_rotvec(angle * axis) for angle, axis in zip(angles, np.eye(3)))
    return np.asarray(yaw @ pitch @ roll)
