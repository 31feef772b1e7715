"""Forward kinematics of a card's arm. Transforms are (4, 4) float64, metres and radians.

An arm stands where its card says, which for a body with a torso is where it stands when the torso is at home;
`carried` moves the arms by the torso's joints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from kinema.card.card import Arm, EmbodimentCard, Gripper, Joint, Link, Torso
from kinema.card.values import QuatWxyz, Side, Vec3


def arm_of(card: EmbodimentCard, side: Side) -> Arm:
    """The card's arm on this side. Raises ValueError naming the sides that exist."""
    for arm in card.arms:
        if arm.side == side:
            return arm
    raise ValueError(f"card {card.name!r} has no {side!r} arm; sides: {[arm.side for arm in card.arms]}")


def gripper_of(arm: Arm) -> Gripper:
    """The arm's gripper. Raises ValueError for an arm that ends in a hand."""
    if arm.gripper is None:
        raise ValueError(f"the {arm.side} arm ends in a hand, not in a gripper")
    return arm.gripper


def home_joints(arm: Arm) -> np.ndarray:
    """The arm's home pose (N,) [rad or m], in the order of `arm.joints`."""
    return np.array([joint.home for joint in arm.joints], np.float64)


def joints_by_slot(card: EmbodimentCard) -> dict[str, Joint]:
    """The joint that each slot of the body's joints moves: the arms', then the torso's."""
    found = {f"{arm.side}.joint.{i}": joint for arm in card.arms for i, joint in enumerate(arm.joints)}
    torso = card.torso.joints if card.torso else ()
    return found | {f"base.waist.{i}": joint for i, joint in enumerate(torso)}


def finger_positions(gripper: Gripper, opening: float) -> np.ndarray:
    """Joint value of each finger (F,) [m or rad] for an opening from 0 (closed) to 1 (open)."""
    closed, opened = np.array(gripper.closed), np.array(gripper.open)
    return closed + opening * (opened - closed)


def gripper_opening(gripper: Gripper, positions: Sequence[float]) -> float:
    """The opening (0 closed, 1 open, not clipped) that best explains finger positions (F,) [m or rad]."""
    closed, opened = np.array(gripper.closed), np.array(gripper.open)
    return float((np.asarray(positions) - closed) @ (opened - closed) / np.sum((opened - closed) ** 2))


def link_poses(arm: Arm, joints: Sequence[float] | np.ndarray, opening: float = 0.0) -> dict[str, np.ndarray]:
    """Pose T_robot_link of every link, and of "base", by link name.

    joints: (N,) [rad or m] in the order of `arm.joints`; opening: the gripper, 0 closed to 1 open.
    Raises ValueError when the number of joints differs from the arm's.
    """
    return {link: _matrix(place) for link, place in _places(arm, joints, opening).items()}


def tool_pose(arm: Arm, joints: Sequence[float] | np.ndarray) -> np.ndarray:
    """Pose T_robot_tool of the tool centre point for joints (N,) in the order of `arm.joints`."""
    tool = arm.tool
    return _matrix(_moved(_places(arm, joints, last=tool.link)[tool.link], tool.pos_m, tool.quat_wxyz))


def carried(card: EmbodimentCard, waist: Sequence[float] | np.ndarray) -> tuple[Arm, ...]:
    """The card's arms where the torso's joints (W,) [rad or m] bring their bases; W is 0 without a torso.

    Raises ValueError when the number of joints differs from the torso's.
    """
    if card.torso is None and not len(waist):
        return card.arms
    return tuple(
        arm.model_copy(update={"base_pos_m": pos_m, "base_quat_wxyz": quat_wxyz})
        for arm, (pos_m, quat_wxyz) in zip(card.arms, _carried_bases(card, waist))
    )


def bases_on_torso(torso: Torso, arms: Sequence[Arm]) -> list[tuple[Vec3, QuatWxyz]]:
    """Position [m] and quaternion of each arm's base in the frame of the torso's last link."""
    home = _torso_place(torso, [joint.home for joint in torso.joints])
    return [_moved(_inverse(home), arm.base_pos_m, arm.base_quat_wxyz) for arm in arms]


def tools_in(
    card: EmbodimentCard, slots: Sequence[str], sides: Sequence[Side] = ("left", "right")
) -> Callable[[np.ndarray], np.ndarray]:
    """What reads tool positions (arms, 3) [m] of these sides from a vector whose joints fill these slots."""
    waist = [j for j, slot in enumerate(slots) if slot.startswith("base.waist.")]
    columns = {
        side: [j for j, slot in enumerate(slots) if slot.startswith(f"{side}.joint.")] for side in sides
    }

    def read(vector: np.ndarray) -> np.ndarray:
        arms = [arm for arm in carried(card, vector[waist]) if arm.side in columns]
        return np.array([tool_pose(arm, vector[columns[arm.side]])[:3, 3] for arm in arms])

    return read


def tools_m(card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
    """Tool positions (T, arms, 3) [m] of native states (T, S): as measured, or computed from the joints."""
    slots = [channel.slot for channel in card.states]
    tools = np.zeros((len(state), len(card.arms), 3))
    for i, arm in enumerate(card.arms):
        if f"{arm.side}.ee.x" in slots:
            tools[:, i] = state[:, [slots.index(f"{arm.side}.ee.{axis}") for axis in "xyz"]]
        else:
            read = tools_in(card, slots, (arm.side,))
            tools[:, i] = [read(row)[0] for row in state]
    return tools


def body_axes(card: EmbodimentCard) -> np.ndarray:
    """Forward, left and up of a body, the columns of (3, 3) in the robot's frame.

    Of two arms the left one stands on the left, whichever way the frame lies; else x is forward.
    """
    base_m = {arm.side: np.array(arm.base_pos_m) for arm in card.arms}
    up = np.array([0.0, 0.0, 1.0])
    left = base_m["left"] - base_m["right"] if len(base_m) == 2 else np.zeros(3)
    left = left - (left @ up) * up
    if not left.any():
        return np.eye(3)
    left /= np.linalg.norm(left)
    return np.stack([np.cross(left, up), left, up], axis=1)


def home_rotation(arm: Arm) -> np.ndarray:
    """R_home (3, 3): the tool's orientation in the robot's frame that the zero rotation vector stands for."""
    return np.array(_rotation(arm.tool.home_quat_wxyz))


# One pose is asked for at a time, by a guard many times in a control period: on so few numbers plain
# arithmetic takes a fraction of the time of numpy's. Quaternions may have any length. (`space.rotation` is
# out of reach: space imports card.)
_Place = tuple[Vec3, QuatWxyz]


def _places(
    arm: Arm, joints: Sequence[float] | np.ndarray, opening: float = 0.0, last: str = ""
) -> dict[str, _Place]:
    """By link name; those after `last` are left out."""
    own = arm.joints
    if len(joints) != len(own):
        raise ValueError(
            f"{arm.side} arm has {len(own)} joints {[j.name for j in own]}; got {len(joints)} values"
        )
    value = {joint.name: float(q) for joint, q in zip(own, joints)}
    if arm.gripper is not None:
        value.update(zip(arm.fingers, finger_positions(arm.gripper, opening).tolist()))
    places = {"base": (arm.base_pos_m, arm.base_quat_wxyz)}
    for link in arm.links:
        places[link.name] = _onward(places[link.parent], link, value)
        if link.name == last:
            break
    return places


def _carried_bases(card: EmbodimentCard, waist: Sequence[float] | np.ndarray) -> list[_Place]:
    torso = card.torso
    if torso is None or len(waist) != len(torso.joints):
        names = [joint.name for joint in torso.joints] if torso else []
        raise ValueError(f"{card.name} has {len(names)} torso joints {names}; got {len(waist)} values")
    place = _torso_place(torso, waist)
    return [_moved(place, *base) for base in bases_on_torso(torso, card.arms)]


def _torso_place(torso: Torso, joints: Sequence[float] | np.ndarray) -> _Place:
    """Of the torso's last link, in the robot's frame."""
    value = {joint.name: float(q) for joint, q in zip(torso.joints, joints)}
    place: _Place = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))
    for link in torso.links:
        place = _onward(place, link, value)
    return place


def _onward(place: _Place, link: Link, value: dict[str, float]) -> _Place:
    """From the place of a link's parent to the link's own."""
    place = _moved(place, link.pos_m, link.quat_wxyz)
    return place if link.joint is None else _by_joint(place, link.joint, value[link.joint.name])


def _by_joint(place: _Place, joint: Joint, value: float) -> _Place:
    """Where a joint [rad or m] brings a place."""
    (x, y, z), (pos_m, quat_wxyz) = joint.axis, place
    length = math.sqrt(x * x + y * y + z * z)
    if joint.type == "slide":
        along = value / length
        return _moved(place, (x * along, y * along, z * along), (1.0, 0.0, 0.0, 0.0))
    sine = math.sin(value / 2) / length
    return pos_m, _product(quat_wxyz, (math.cos(value / 2), x * sine, y * sine, z * sine))


def _moved(place: _Place, pos_m: Vec3, quat_wxyz: QuatWxyz) -> _Place:
    """The place that lies so in the axes of another."""
    ((px, py, pz), (w, x, y, z)), (vx, vy, vz) = place, pos_m
    s = 2 / (w * w + x * x + y * y + z * z)
    tx, ty, tz = s * (y * vz - z * vy), s * (z * vx - x * vz), s * (x * vy - y * vx)
    turned = vx + w * tx + y * tz - z * ty, vy + w * ty + z * tx - x * tz, vz + w * tz + x * ty - y * tx
    return (px + turned[0], py + turned[1], pz + turned[2]), _product(place[1], quat_wxyz)


def _inverse(place: _Place) -> _Place:
    """The place of what a place is given in, in the place's own axes."""
    (px, py, pz), (w, x, y, z) = place
    back = (w, -x, -y, -z)
    return _moved(((0.0, 0.0, 0.0), back), (-px, -py, -pz), (1.0, 0.0, 0.0, 0.0))[0], back


def _product(first: QuatWxyz, then: QuatWxyz) -> QuatWxyz:
    (w, x, y, z), (a, b, c, d) = first, then
    return (
        w * a - x * b - y * c - z * d,
        w * b + x * a + y * d - z * c,
        w * c - x * d + y * a + z * b,
        w * d + x * c - y * b + z * a,
    )


def _matrix(place: _Place) -> np.ndarray:
    pos_m, quat_wxyz = place
    rows = [[*turned, moved] for turned, moved in zip(_rotation(quat_wxyz), pos_m)]
    return np.array([*rows, [0.0, 0.0, 0.0, 1.0]])


def _rotation(quat_wxyz: QuatWxyz) -> list[list[float]]:
    w, x, y, z = quat_wxyz
    s = 2 / (w * w + x * x + y * y + z * z)
    return [
        [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
        [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
        [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
    ]
