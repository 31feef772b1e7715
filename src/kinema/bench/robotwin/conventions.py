"""What RoboTwin's actions, states and pictures are: said by both sides, compared before the first step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kinema.card.card import Arm, EmbodimentCard

CAMERAS_PX = {"head_camera": (320, 240), "left_camera": (320, 240), "right_camera": (320, 240)}
GRIPPER_M = (-0.01, 0.045)  # how far a finger is out at a gripper's 0 and 1
HZ = (250, 15)  # steps of the physics in a second, and of which demonstrations keep one
_DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """The simulator reads its own off the robot of a running scene, ours follow from the card.

    joints:  those that each number of an action sets, grippers as such, left and then right
    gripper: what its 0 and 1 command [m]
    places_m: to a millimetre, of the left arm and then the right: its base in the world, and each joint in
             the link before it
    cameras: names with width and height [px]
    """

    physics_hz: int
    kept_of: int
    joints: tuple[str, ...]
    gripper_m: tuple[float, float]
    places_m: tuple[tuple[float, ...], ...]
    cameras: tuple[tuple[str, int, int], ...]


def of_card(card: EmbodimentCard) -> Conventions:
    """What our side stands by."""
    return Conventions(
        physics_hz=HZ[0],
        kept_of=HZ[1],
        joints=tuple(channel.name for channel in card.actions),
        gripper_m=GRIPPER_M,
        places_m=tuple(place for arm in card.arms for place in _places(arm)),
        cameras=tuple((name, *CAMERAS_PX[name]) for name in card.camera_names),
    )


def _places(arm: Arm) -> list[tuple[float, ...]]:
    links = [link for link in arm.links if link.joint and link.joint.name not in arm.fingers]
    return [to_mm(arm.base_pos_m), *(to_mm(link.pos_m) for link in links)]


def to_mm(position_m: Iterable[float]) -> tuple[float, ...]:
    """Rounded, and without a minus before 0."""
    return tuple(round(float(value), _DIGITS) + 0.0 for value in position_m)
