"""LIBERO played by servers of openpi's protocol, which are told its state as openpi's evaluation tells it."""

from __future__ import annotations

import numpy as np

from kinema.bench.libero.benchmark import CARD
from kinema.bench.libero.conventions import FINGER_TRAVEL_M
from kinema.card.kinematics import home_rotation
from kinema.card.load import load_card
from kinema.runtime.openpi_policy import OpenpiPolicy
from kinema.schema import Observation
from kinema.space.rotation import matrix_from_rotvec, quat_from_matrix

SIZE_PX = 256  # of the pictures that openpi's evaluation draws; its servers scale them


class LiberoServer(OpenpiPolicy):
    """Asks a server that was made for LIBERO, such as openpi's `pi05_libero`."""

    def state(self, observation: Observation) -> np.ndarray:
        """Eight numbers in place of the card's seven."""
        return openpi_state(observation.state)


def openpi_state(state: np.ndarray) -> np.ndarray:
    """Position [m], axis times angle of the simulator's quaternion [rad], both fingers [m]: float32 (8,).

    state: the card's, (7,). The simulator's quaternion of a tool that points down is near (1, 0, 0, 0) in
    its order x, y, z, w, never near its negative: the angle passes through pi instead of jumping there.
    """
    arm = load_card(CARD).arms[0]
    R_world_tool = matrix_from_rotvec(np.asarray(state[3:6], np.float64)) @ home_rotation(arm)
    w, *axis = quat_from_matrix(R_world_tool)
    if axis[0] < 0:
        w, axis = -w, [-value for value in axis]
    length = np.linalg.norm(axis)
    turn = np.array(axis) * (2 * np.arctan2(length, w) / length)
    finger_m = FINGER_TRAVEL_M * float(state[6])
    return np.concatenate([state[:3], turn, [finger_m, -finger_m]]).astype(np.float32)
