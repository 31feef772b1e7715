"""What RoboCasa-GR1's actions, states and pictures are: said by both sides, compared before the first step.

A vector is the card's when hands count from 0 bent to 1 stretched, arm by arm, and the package's when every
number is a joint's target or angle [rad], in the order of GR00T's keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kinema.card.card import Arm, EmbodimentCard, Joint, Torso
from kinema.card.kinematics import bases_on_torso, joints_by_slot

KEYS = ("left_arm", "right_arm", "left_hand", "right_hand", "waist")
HZ = (20, 500)  # of control and of physics
CAMERA = "egoview"
PICTURE = "video.ego_view_bg_crop_pad_res256_freq20"  # the one of the package's two that GR00T is shown
SIZE_PX = 256
# Of each value of a hand: the joints it drives, the first of which is its state, and how far they bend [rad].
FINGERS: tuple[tuple[str, ...], ...] = (
    *((f"{name}_intermediate", f"{name}_proximal") for name in ("pinky", "ring", "middle", "index")),
    ("thumb_proximal_pitch", "thumb_distal"),
    ("thumb_proximal_yaw",),
)
BENT_RAD = (1.74, 1.74, 1.74, 1.74, 1.23, 1.74)
_DIGITS = 5  # fewer would round halves of the model either way


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """The simulator reads its own off the robot of a running scene, ours follow from the card.

    hz:        of control and of physics
    absolute:  whether the numbers of arms and waist are targets in the joints' own unit
    joints:    of each number of arms and waist, by key: name, least and most [rad]
    places_m:  by key: an arm's base on the waist's last link; each joint in the one before
    fingers:   of each value of the left hand and then the right: the joints it drives, its state's first
    bent_rad:  the largest target that any of them heeds
    camera_m:  the camera's place on the last link of the waist
    pictures:  names with width and height [px]
    """

    hz: tuple[int, int]
    absolute: bool
    joints: dict[str, tuple[tuple[str, float, float], ...]]
    places_m: dict[str, tuple[tuple[float, ...], ...]]
    fingers: tuple[tuple[str, ...], ...]
    bent_rad: tuple[float, ...]
    camera_m: tuple[float, ...]
    pictures: tuple[tuple[str, int, int], ...]


def of_card(card: EmbodimentCard) -> Conventions:
    """What our side stands by."""
    assert card.torso is not None
    chains: dict[str, Arm | Torso] = {f"{arm.side}_arm": arm for arm in card.arms}
    chains["waist"] = card.torso
    places = {
        key: tuple(rounded(link.pos_m) for link in chain.links if link.joint) for key, chain in chains.items()
    }
    for arm, (base_m, _) in zip(card.arms, bases_on_torso(card.torso, card.arms)):
        places[f"{arm.side}_arm"] = (rounded(base_m), *places[f"{arm.side}_arm"])
    return Conventions(
        hz=(round(card.control_hz), HZ[1]),
        absolute=True,
        joints={
            key: tuple((joint.name, *_range(joint)) for joint in chain.joints)
            for key, chain in chains.items()
        },
        places_m=places,
        fingers=FINGERS * len(card.arms),
        bent_rad=BENT_RAD * len(card.arms),
        camera_m=rounded(card.cameras[0].pos_m),
        pictures=tuple((name, SIZE_PX, SIZE_PX) for name in card.camera_names),
    )


def _range(joint: Joint) -> tuple[float, float]:
    low, high = rounded(joint.range)
    return low, high


def rounded(values: Iterable[float]) -> tuple[float, ...]:
    """To five digits behind the point, and without a minus before 0."""
    return tuple(round(float(value), _DIGITS) + 0.0 for value in values)


def to_package(card: EmbodimentCard, values: np.ndarray) -> np.ndarray:
    """The package's numbers (..., 29) [rad] for the card's actions or states (..., 29)."""
    rad = np.array(values, np.float64)
    hands, bent_rad = _hands(card)
    rad[..., hands] = (1.0 - rad[..., hands]) * bent_rad
    return rad[..., _order(card)]


def to_card(card: EmbodimentCard, rad: np.ndarray) -> np.ndarray:
    """The card's numbers (..., 29) for the package's [rad], hands' targets within their limits."""
    values = np.array(rad, np.float64)[..., np.argsort(_order(card))]
    hands, bent_rad = _hands(card)
    values[..., hands] = np.clip(1.0 - values[..., hands] / bent_rad, 0.0, 1.0)
    return values


def by_key(card: EmbodimentCard, rad: np.ndarray) -> dict[str, np.ndarray]:
    """The package's numbers (29,), cut by its keys."""
    slots = np.array([channel.slot for channel in card.actions])[_order(card)]
    keys = np.array([_key(slot) for slot in slots])
    return {key: rad[keys == key] for key in KEYS}


def _order(card: EmbodimentCard) -> list[int]:
    """The card's channels in the package's order."""
    slots = [channel.slot for channel in card.actions]
    return sorted(range(len(slots)), key=lambda i: KEYS.index(_key(slots[i])))


def _key(slot: str) -> str:
    side, kind, _ = slot.split(".")
    return "waist" if kind == "waist" else f"{side}_{'hand' if kind == 'hand' else 'arm'}"


def _hands(card: EmbodimentCard) -> tuple[list[int], np.ndarray]:
    joints = joints_by_slot(card)
    hands = [i for i, channel in enumerate(card.actions) if channel.slot not in joints]
    return hands, np.tile(BENT_RAD, len(card.arms))
