"""A card and a topics file, compared: which number of ROS is which channel, from there and back.

Numbers of ROS are found by name, never by place. It needs no ROS: positions come and go as mappings from
joint names to numbers, a pose as (4, 4), a twist as (3,). What does not fit is an error at construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NoReturn

import numpy as np

from kinema.card.card import Channel, EmbodimentCard, Joint
from kinema.card.kinematics import arm_of, carried, home_rotation, joints_by_slot, tool_pose
from kinema.runtime.robot import ReadingError
from kinema.runtime.ros.topics import CameraTopic, CommandLine, JointLine, Topics
from kinema.runtime.wiring import UNITS, Wire
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

_PLANE = ("base.waypoint.x", "base.waypoint.y", "base.waypoint.theta")
_SPEED = ("base.velocity.x", "base.velocity.y", "base.velocity.theta")
_SPEED_UNITS = ("m/s", "m/s", "rad/s")
DRIVEN = {
    "joint_position": "trajectory or follow",
    "ee_pose": "pose, and trajectory or follow for the gripper",
    "waypoints": "twist",
    "drive": "twist, of speeds in m/s and rad/s",
}  # what a card's control may be, and the commands that drive it


@dataclass(frozen=True, kw_only=True)
class JointCommand:
    """Positions of these joints, by ROS's names; `as_goal`: by an action in place of a topic."""

    topic: str
    joints: tuple[str, ...]
    as_goal: bool


@dataclass(frozen=True, kw_only=True)
class PoseCommand:
    """The target of a tool, in the robot's frame."""

    topic: str
    side: Literal["left", "right"]
    frame: str


@dataclass(frozen=True, kw_only=True)
class TwistCommand:
    """Forward m/s, left m/s and turn rad/s of the base."""

    topic: str


Command = JointCommand | PoseCommand | TwistCommand


@dataclass(frozen=True, kw_only=True)
class Odometry:
    """Where a base is, (3,) x, y [m] and heading [rad], and its own speed, (3,) [m/s, m/s, rad/s]."""

    pose: np.ndarray
    speed: np.ndarray


class RosMapping:
    """One body in ROS's terms and back. Values of channels are native, by the card's channel names.

    Raises KinemaError, naming the thing and the choices, for whatever in the file does not fit the card.
    """

    def __init__(self, card: EmbodimentCard, topics: Topics) -> None:
        self.card, self.topics = card, topics
        if topics.card != card.name:
            self._refuse(f"card: it is for {topics.card!r}, not for {card.name!r}")
        if card.control not in DRIVEN:
            self._refuse(f"{card.control!r} cannot be driven over ROS; what can: {_listed(DRIVEN)}")
        joints = joints_by_slot(card)
        lines = self._lines([_joint_name(card, slot) for slot in joints])
        self.joints: dict[str, Wire] = {
            slot: self._joint_wire(_joint_name(card, slot), lines, joint) for slot, joint in joints.items()
        }  # by slot
        self.openings: dict[str, Wire] = self._opening_wires()  # by slot
        self._each_joint_once()
        self.cameras: Mapping[str, CameraTopic] = self._cameras()
        self.commands: tuple[Command, ...] = tuple(map(self._command, topics.commands))
        self._every_action_once()
        self._every_state_is_read()
        for side in topics.frames.tools:
            self._require(side, [arm.side for arm in card.arms], "frames.tools")

    # -- readings

    @cached_property
    def read_joints(self) -> tuple[str, ...]:
        """The joints of ROS that the joint states must name, for the state and the tools' frames."""
        slots = {channel.slot for channel in self.card.states}
        moving = self.card.control == "ee_pose" or bool(self.topics.frames.tools)
        joints = [wire.key for slot, wire in self.joints.items() if moving or slot in slots]
        return (*joints, *(wire.key for slot, wire in self.openings.items() if slot in slots))

    def state(self, positions: Mapping[str, float], odometry: Odometry | None = None) -> dict[str, float]:
        """Native values of the card's states from joint positions by ROS's names, and a base's odometry.

        Raises ReadingError for a joint that is not among them.
        """
        if missing := [name for name in self.read_joints if name not in positions]:
            raise ReadingError(
                f"the joint states lack {', '.join(missing)}; "
                f"they name {', '.join(sorted(positions)) or 'none'}"
            )
        by_slot = {slot: wire.native(positions[wire.key]) for slot, wire in self._read.items()}
        if self.card.control == "ee_pose":
            for arm in self.card.arms:
                by_slot |= self._tool_state(arm.side, self.tool(arm.side, positions))
        if odometry is not None:
            by_slot |= dict(zip((*_PLANE, *_SPEED), map(float, (*odometry.pose, *odometry.speed))))
        return {channel.name: by_slot[channel.slot] for channel in self.card.states}

    def tool(self, side: Literal["left", "right"], positions: Mapping[str, float]) -> np.ndarray:
        """T_robot_tool (4, 4) from joint positions by ROS's names."""

        def values(begin: str) -> list[float]:
            return [w.native(positions[w.key]) for slot, w in self.joints.items() if slot.startswith(begin)]

        arm = next(arm for arm in carried(self.card, values("base.waist.")) if arm.side == side)
        return tool_pose(arm, values(f"{side}.joint."))

    def torques(self, efforts: Mapping[str, float]) -> dict[str, float]:
        """Joint torques [N m or N] by "side.joint" for those joints whose efforts are told."""
        told = {slot: wire for slot, wire in self.joints.items() if wire.key in efforts}
        return {
            _joint_name(self.card, slot): efforts[wire.key] * np.sign(wire.scale)
            for slot, wire in told.items()
            if ".joint." in slot
        }

    # -- commands; `action` holds native values by channel name

    def positions(self, command: JointCommand, action: Mapping[str, float]) -> list[float]:
        """Of the command's joints, in its order."""
        by_joint = {wire.key: wire.raw(action[name]) for name, wire in self._driven.items()}
        return [by_joint[joint] for joint in command.joints]

    def pose(self, command: PoseCommand, action: Mapping[str, float]) -> np.ndarray:
        """T_robot_tool (4, 4) that is asked for."""
        native = {channel.slot: action[channel.name] for channel in self.card.actions}
        values = np.array([native[slot] for slot in _pose_slots(command.side)])
        T_robot_tool = np.eye(4)
        T_robot_tool[:3, 3] = values[:3]
        R_home = home_rotation(arm_of(self.card, command.side))
        T_robot_tool[:3, :3] = matrix_from_rotvec(values[3:]) @ R_home
        return T_robot_tool

    def twist(self, action: Mapping[str, float]) -> np.ndarray:
        """Forward [m/s], left [m/s] and turn [rad/s]: as commanded, or what leads to the next waypoint."""
        native = {channel.slot: action[channel.name] for channel in self.card.actions}
        if self.card.control == "waypoints":
            steps = {channel.slot: channel.step or 1.0 for channel in self.card.actions}
            way = np.array([native.get(slot, 0.0) * steps.get(slot, 1.0) for slot in _PLANE])
            return twist_along(way) * self.card.control_hz
        return np.array([native.get(slot, 0.0) for slot in _SPEED])

    # -- the check

    @cached_property
    def _read(self) -> dict[str, Wire]:
        """By slot, the joints and openings that fill states."""
        slots = {channel.slot for channel in self.card.states}
        return {slot: wire for slot, wire in (self.joints | self.openings).items() if slot in slots}

    @cached_property
    def _driven(self) -> dict[str, Wire]:
        """By channel, the joints and openings that actions move."""
        wires = self.joints | self.openings
        return {c.name: wires[c.slot] for c in self.card.actions if c.slot in wires}

    def _lines(self, names: Sequence[str]) -> dict[str, JointLine]:
        """The file's lines by "side.joint"; a body with one arm may leave the side out."""
        short = {name.split(".", 1)[1]: name for name in names}
        full = {}
        for name, line in self.topics.joints.items():
            unique = len(short) == len(names)
            found = name if name in names else short.get(name) if unique else None
            if found is None:
                self._refuse(f"joints: no joint {name!r}; choices: {', '.join(short if unique else names)}")
            full[found] = line
        return full

    def _joint_wire(self, name: str, lines: Mapping[str, JointLine], joint: Joint) -> Wire:
        line = lines.get(name, JointLine(key=joint.name))
        of = "m" if joint.type == "slide" else "rad"
        unit = UNITS[line.unit or of]
        if unit.of != of:
            fitting = ", ".join(u.name for u in UNITS.values() if u.of == of)
            self._refuse(f"joints: {name} is in {of}, which {unit.name} is not; units that can be: {fitting}")
        scale = -unit.scale if line.reversed else unit.scale
        return Wire(key=line.key, scale=scale, offset=-scale * line.zero + 0.0)

    def _opening_wires(self) -> dict[str, Wire]:
        channels = {c.name: c for c in (*self.card.states, *self.card.actions) if _opens(c)}
        for name in self.topics.openings:
            self._require(name, list(channels), "openings")
        if missing := [name for name in channels if name not in self.topics.openings]:
            self._refuse(
                f"openings: {missing[0]} is missing; the joint of ROS and its positions at both ends: "
                f"`{missing[0]}: {{key: finger_joint, closed: 0.8, open: 0.0}}`"
            )
        wires = {}
        for name, line in self.topics.openings.items():
            closed, opened = channels[name].closed_and_open
            scale = (opened - closed) / (line.open - line.closed)
            wires[channels[name].slot] = Wire(key=line.key, scale=scale, offset=closed - scale * line.closed)
        return wires

    def _each_joint_once(self) -> None:
        keys = [wire.key for wire in (*self.joints.values(), *self.openings.values())]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            self._refuse(f"joints and openings: {', '.join(twice)} of ROS is given twice; each is one joint")

    def _cameras(self) -> dict[str, CameraTopic]:
        present = [camera.name for camera in self.card.present]
        for name in self.topics.cameras:
            self._require(name, present, "cameras")
        if missing := [name for name in present if name not in self.topics.cameras]:
            self._refuse(f"cameras: {', '.join(missing)} is missing; the card has {', '.join(present)}")
        return dict(self.topics.cameras)

    def _command(self, line: CommandLine) -> Command:
        if line.pose:
            self._require(line.side, [arm.side for arm in self.card.arms], f"commands: {line.pose}")
            return PoseCommand(topic=line.pose, side=line.side, frame=self.topics.frames.base)
        if line.twist:
            return TwistCommand(topic=line.twist)
        known = [wire.key for wire in self._driven.values()]
        for joint in line.joints:
            self._require(joint, known, f"commands: {line.trajectory or line.follow}")
        topic = line.trajectory or line.follow
        assert topic is not None
        return JointCommand(topic=topic, joints=line.joints, as_goal=line.follow is not None)

    def _every_action_once(self) -> None:
        by_key = {wire.key: name for name, wire in self._driven.items()}
        slots = {channel.slot: channel.name for channel in self.card.actions}
        moved: list[str] = []
        for command in self.commands:
            if isinstance(command, JointCommand):
                moved += [by_key[joint] for joint in command.joints]
            elif isinstance(command, PoseCommand):
                moved += [slots[slot] for slot in _pose_slots(command.side) if slot in slots]
            else:
                self._takes_a_twist()
                moved += [slots[slot] for slot in (*_PLANE, *_SPEED) if slot in slots]
        ways = DRIVEN[self.card.control]
        if still := [channel.name for channel in self.card.actions if channel.name not in moved]:
            self._refuse(
                f"commands: nothing moves {', '.join(still)}; a {self.card.control} body takes {ways}"
            )
        if twice := sorted({name for name in moved if moved.count(name) > 1}):
            self._refuse(f"commands: {', '.join(twice)} is moved by two; each is moved by one")

    def _takes_a_twist(self) -> None:
        units = dict(zip(_SPEED, _SPEED_UNITS))
        for channel in self.card.actions:
            if channel.slot in units and channel.unit != units[channel.slot]:
                self._refuse(
                    f"commands: {channel.name} is in {channel.unit}, a twist has {units[channel.slot]}; "
                    "a body that steers needs a node of its own"
                )

    def _every_state_is_read(self) -> None:
        tools = ("ee", "rot") if self.card.control == "ee_pose" else ()
        if self.topics.odometry and _wrong(self.card.states):
            self._refuse(f"odometry: it has m/s and rad/s, not {_wrong(self.card.states)}")
        if self.read_joints and self.topics.joint_states is None:
            self._refuse(
                f"joint_states is missing: `joint_states: {{topic: /joint_states}}` for {self.read_joints}"
            )
        for channel in self.card.states:
            slot = channel.slot
            if slot in self._read or slot.split(".")[1] in tools:
                continue
            if slot not in (*_PLANE, *_SPEED):
                self._refuse(f"state {channel.name} ({slot}) is on no topic that this package reads")
            if self.topics.odometry is None:
                self._refuse(f"odometry is missing, which tells {channel.name}: `odometry: {{topic: /odom}}`")

    def _tool_state(self, side: str, T_robot_tool: np.ndarray) -> dict[str, float]:
        arm = arm_of(self.card, side)  # type: ignore[arg-type]
        turn = rotvec_from_matrix(T_robot_tool[:3, :3] @ home_rotation(arm).T)
        return dict(zip(_pose_slots(side), map(float, (*T_robot_tool[:3, 3], *turn))))

    def _require(self, name: str, choices: Sequence[str], where: str) -> None:
        if name not in choices:
            self._refuse(f"{where}: no {name!r}; choices: {', '.join(choices) or 'none'}")

    def _refuse(self, what: str) -> NoReturn:
        raise KinemaError(f"topics of {self.card.name}: {what}")


def twist_along(way: np.ndarray) -> np.ndarray:
    """The twist (3,) that leads a base along `way` (3,) (x, y, turn in its own frame) in one unit of time."""
    x, y, turn = way
    half = turn / 2
    lateral = half / np.tan(half) if abs(half) > 1e-6 else 1.0 - half**2 / 3
    return np.array([lateral * x + half * y, lateral * y - half * x, turn])


def _pose_slots(side: str) -> list[str]:
    return [*(f"{side}.ee.{axis}" for axis in "xyz"), *(f"{side}.rot.{i}" for i in range(3))]


def _joint_name(card: EmbodimentCard, slot: str) -> str:
    """ "side.joint" of an arm's joint, "torso.joint" of a torso's."""
    side = slot.split(".")[0]
    return f"{'torso' if side == 'base' else side}.{joints_by_slot(card)[slot].name}"


def _opens(channel: Channel) -> bool:
    return channel.slot.split(".")[1] in ("gripper", "hand")


def _wrong(states: Sequence[Channel]) -> str:
    """The first state of a speed in another unit than odometry's."""
    units = dict(zip(_SPEED, _SPEED_UNITS))
    told = (f"{c.name} in {c.unit}" for c in states if c.slot in units and c.unit != units[c.slot])
    return next(told, "")


def _listed(choices: Mapping[str, str]) -> str:
    return "; ".join(f"{name} by {how}" for name, how in choices.items())
