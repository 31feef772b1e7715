"""What an action, a state and a picture of LIBERO are: said by both sides, compared before the first step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.card.card import EmbodimentCard

CAMERAS = ("agentview", "robot0_eye_in_hand")
READING = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}  # numbers by name
FINGER_TRAVEL_M = 0.04  # of each of the two


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """The simulator reads its own off the running environment, ours follow from the card.

    low, high, step: of every action; step: how far 1 moves the target [m, rad], 0 for the gripper
    relative:        whether actions displace the target
    gripper_closes:  the sign of the last action that closes
    finger_travel_m: how far each finger moves
    reading:         names and sizes of what is measured: position in the world [m], turn, fingers [m]
    quaternion:      its order
    cameras:         their names in order
    first_row:       where a raw picture begins
    """

    control_hz: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    step: tuple[float, ...]
    relative: bool
    gripper_closes: int
    finger_travel_m: float
    reading: tuple[tuple[str, int], ...]
    quaternion: str
    cameras: tuple[str, ...]
    first_row: str


def of_card(card: EmbodimentCard) -> Conventions:
    """What our side stands by."""
    return Conventions(
        control_hz=card.control_hz,
        low=tuple(float(channel.range[0]) for channel in card.actions),
        high=tuple(float(channel.range[1]) for channel in card.actions),
        step=tuple(channel.step or 0.0 for channel in card.actions),
        relative=card.control == "ee_delta",
        gripper_closes=int(np.sign(card.actions[-1].closed_and_open[0])),
        finger_travel_m=FINGER_TRAVEL_M,
        reading=tuple(READING.items()),
        quaternion="xyzw",
        cameras=card.camera_names,
        first_row="bottom",
    )
