"""Forward kinematics of a card's arm. Transforms are (4, 4) float64, metres and radians."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kinema.card.card import Arm, EmbodimentCard, Gripper, Joint
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


def tools_m(card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
    """Tool positions (T, arms, 3) [m] of native states (T, S): as measured, or computed from the joints."""
    slots = [channel.slot for channel in card.states]
    tools = np.zeros((len(state), len(card.arms), 3))
    for i, arm in enumerate(card.arms):
        if f"{arm.side}.ee.x" in slots:
            tools[:, i] = state[:, [slots.index(f"{arm.side}.ee.{axis}") for axis in "xyz"]]
        else:
            columns = [j for j, slot in enumerate(slots) if slot.startswith(f"{arm.side}.joint.")]
            tools[:, i] = [tool_pose(arm, row[columns])[:3, 3] for row in state]
    return tools


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
        place = _moved(places[link.parent], link.pos_m, link.quat_wxyz)
        if link.joint is not None:
            place = _by_joint(place, link.joint, value[link.joint.name])
        places[link.name] = place
        if link.name == last:
            break
    return places


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
