"""Check a card beyond its form: does the body that it describes make sense?

Each check is a function of the card that returns a sentence, or raises ValueError saying what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.card.kinematics import home_joints, home_rotation, joints_by_slot, link_poses, tool_pose
from kinema.card.load import CardError, know, load_card, read_card
from kinema.card.plausible import check_gripper, check_numbers, check_views, check_workspace
from kinema.card.prompt import prompt

CardCheck = tuple[str, Callable[[EmbodimentCard], str]]

HOME_TOLERANCE_RAD = 2e-3
_GROUND = ("base.waypoint.x", "base.waypoint.y", "base.waypoint.theta")


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What was checked; `card` is None when it could not even be read."""

    card: EmbodimentCard | None
    rows: tuple[CheckRow, ...]

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)


def check_card(name_or_path: str | Path, more: Sequence[CardCheck] = ()) -> CheckReport:
    """Read a card and run every check of `CARD_CHECKS`, then those of `more`, whatever faults are found."""
    try:
        own = (
            isinstance(name_or_path, Path) or name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path
        )
        card = read_card(name_or_path) if own else load_card(name_or_path)
    except CardError as error:
        return CheckReport(card=None, rows=(CheckRow(name="read", ok=False, detail=str(error)),))
    first = CheckRow(name="read", ok=True, detail=f"{card.name}: every key and value is valid")
    return CheckReport(card=card, rows=(first, *(_run(check, card) for check in (*CARD_CHECKS, *more))))


def _run(check: CardCheck, card: EmbodimentCard) -> CheckRow:
    name, function = check
    try:
        return CheckRow(name=name, ok=True, detail=function(card))
    except ValueError as error:
        return CheckRow(name=name, ok=False, detail=str(error))
    except Exception as error:  # a card that breaks a check has a fault, whatever the check thought of
        told = f"could not be checked: {type(error).__name__}: {error}".splitlines()[0]
        return CheckRow(name=name, ok=False, detail=told)


def check_name(card: EmbodimentCard) -> str:
    """A shipped name belongs to the shipped card."""
    know(card)
    return f"known as {card.name!r}"


def check_limits(card: EmbodimentCard) -> str:
    """Home and the gripper's two ends lie within the joints' ranges."""
    count = 0
    for arm in card.arms:
        ranges = {link.joint.name: link.joint.range for link in arm.links if link.joint}
        homes = [(joint.name, joint.home, "home") for joint in arm.joints]
        gripper = arm.gripper
        ends = [] if gripper is None else [*zip(arm.fingers, gripper.closed), *zip(arm.fingers, gripper.open)]
        for name, value, what in [*homes, *((finger, value, "gripper end") for finger, value in ends)]:
            low, high = ranges[name]
            if not low - 1e-6 <= value <= high + 1e-6:
                raise ValueError(f"{arm.side} joint {name}: {what} {value} is outside [{low}, {high}]")
        if gripper is not None and gripper.closed == gripper.open:
            raise ValueError(f"{arm.side} gripper: closed and open are the same: {gripper.open}")
        count += len(ranges)
    for joint in card.torso.joints if card.torso else ():
        low, high = joint.range
        if not low <= joint.home <= high:
            raise ValueError(f"torso joint {joint.name}: home {joint.home} is outside [{low}, {high}]")
        count += 1
    return f"home and gripper ends of {count} joints are within their ranges"


def check_home(card: EmbodimentCard) -> str:
    """At home the tool lies in the workspace and points as `tool.home_quat_wxyz` says."""
    told = []
    for arm in card.arms:
        T_robot_tool = tool_pose(arm, home_joints(arm))
        for axis, value, (low, high) in zip("xyz", T_robot_tool[:3, 3], card.workspace_m):
            if not low <= value <= high:
                raise ValueError(f"{arm.side} tool at home: {axis} {value:.3f} m is outside [{low}, {high}]")
        R_home_tool = home_rotation(arm).T @ T_robot_tool[:3, :3]
        angle_rad = float(np.arccos(np.clip((np.trace(R_home_tool) - 1) / 2, -1, 1)))
        if angle_rad > HOME_TOLERANCE_RAD:
            raise ValueError(f"{arm.side} tool at home is {angle_rad:.3f} rad away from tool.home_quat_wxyz")
        told.append(f"{arm.side} tool at ({', '.join(f'{v:.3f}' for v in T_robot_tool[:3, 3])}) m")
    return f"at home: {'; '.join(told)}"


def check_cameras(card: EmbodimentCard) -> str:
    """Every camera is fixed in the world or on a link that exists."""
    mounts = ["world", *(["base"] if card.mobile_base else [])] + [
        f"{arm.side}:{link}" for arm in card.arms for link in link_poses(arm, home_joints(arm))
    ]
    mounts += [f"torso:{link.name}" for link in card.torso.links] if card.torso else []
    for camera in card.cameras:
        if camera.mount not in mounts:
            raise ValueError(f"camera {camera.name}: mount {camera.mount!r} must be one of {mounts}")
        if camera.ago_s and card.present_of(camera) is None:
            raise ValueError(
                f"camera {camera.name} shows the past of no camera: none at its place has ago_s 0"
            )
    return ", ".join(f"{camera.name} ({camera.tag}) on {camera.mount}" for camera in card.cameras)


def check_channels(card: EmbodimentCard) -> str:
    """The channels are those, and in the order, that the card's kind of control stands for.

    A hand's values take the gripper's place, and a torso's joints come last; joint targets are absolute or
    count from where the joints are.
    """
    moved = expected_slots(card)
    placed = [*_GROUND] if card.control == "drive" else []
    rows = (("actions", card.actions, moved), ("states", card.states, placed + moved))
    for what, channels, wanted in rows:
        slots = [channel.slot for channel in channels]
        if slots != wanted:
            raise ValueError(f"{what} fill {slots}; control {card.control!r} of this body needs {wanted}")
    if card.control == "joint_position":
        _check_joint_ranges(card)
    if card.control == "ee_pose":
        _check_references(card.actions)
    return f"{len(card.actions)} actions and {len(card.states)} states for control {card.control!r}"


def expected_slots(card: EmbodimentCard) -> list[str]:
    """The slots that this body's kind of control fills, in the order of its native vector."""
    pose = ["ee.x", "ee.y", "ee.z", "rot.0", "rot.1", "rot.2"]
    armless = {
        "drive": ["base.velocity.x", "base.velocity.theta"],
        "waypoints": [*_GROUND],
        "hand": ["right.ee.x", "right.ee.y", "right.ee.z", "right.gripper"],
        "wrist": [
            f"{side}.{name}"
            for side in ("left", "right")
            if any(channel.slot.startswith(side) for channel in card.actions)
            for name in (*pose, *(f"hand.{i}" for i in range(10)))
        ],
    }
    slots = armless.get(card.control, [])
    for arm in card.arms:
        joints = [f"joint.{i}" for i in range(len(arm.joints))]
        moving = {
            "ee_pose": pose,
            "ee_delta": pose,
            "joint_position": joints,
            "metaworld": ["ee.x", "ee.y", "ee.z"],
        }
        end = [f"hand.{i}" for i in range(len(arm.hand.values))] if arm.hand else ["gripper"]
        slots += [f"{arm.side}.{name}" for name in (*moving[card.control], *end)]
    return slots + [slot for slot in joints_by_slot(card) if slot.startswith("base.waist.")]


def _check_joint_ranges(card: EmbodimentCard) -> None:
    joints = joints_by_slot(card)
    for channel in card.actions:
        low, high = joints[channel.slot].range if channel.slot in joints else (0.0, 1.0)
        if channel.range[0] < low - 1e-4 or channel.range[1] > high + 1e-4:
            raise ValueError(
                f"action {channel.name}: {list(channel.range)} exceeds the joint's [{low}, {high}]"
            )


def _check_references(channels: Sequence[Channel]) -> None:
    for channel in channels:
        if ".hand." in channel.slot:
            continue
        wanted = "absolute" if channel.slot.endswith(".gripper") else "first_frame"
        if channel.reference != wanted:
            raise ValueError(f"action {channel.name}: reference {channel.reference!r} must be {wanted!r}")


def check_prompt(card: EmbodimentCard) -> str:
    """The body's prompt can be written."""
    return prompt(card, "pick up the red block", card.chunk)


CARD_CHECKS: tuple[CardCheck, ...] = (
    ("name", check_name),
    ("numbers", check_numbers),
    ("limits", check_limits),
    ("home", check_home),
    ("gripper", check_gripper),
    ("cameras", check_cameras),
    ("views", check_views),
    ("workspace", check_workspace),
    ("channels", check_channels),
    ("prompt", check_prompt),
)
