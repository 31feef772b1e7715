"""Numbers that no body has: degrees for radians, grams for kilograms, jaws that close the wrong way.

Each is a check of `card.check`: a function of the card that returns a sentence, or raises ValueError.
"""

from __future__ import annotations

import numpy as np

from kinema.card.card import Arm, Camera, EmbodimentCard
from kinema.card.kinematics import home_joints, link_poses, tool_pose

# Unitree's arm motors reach 37 rad/s without load; what is meant in degrees/s is mostly above 40
_RANGE_RAD, _SPEED_RAD_S, _EFFORT_NM = 4 * np.pi, 40.0, 1000.0
_TRAVEL_M, _SPEED_M_S, _EFFORT_N = 2.0, 3.0, 5000.0
_FINGER_M = 0.2
_MASS_KG = (0.001, 100.0)
_WIDTH = (0.5, 1.6)  # of the jaws' own travel
_ALONG_Y = 0.7  # of a finger's motion


def check_numbers(card: EmbodimentCard) -> str:
    """Ranges, speeds, efforts and masses are of the size that arms have, in rad, m, N m, N and kg."""
    count = 0
    parts = [(arm.side, arm.links, arm.fingers) for arm in card.arms]
    for part, links, fingers in [*parts, *([("torso", card.torso.links, ())] if card.torso else [])]:
        for link in links:
            _within(f"{part} link {link.name}: mass_kg", link.mass_kg, *_MASS_KG, "kg; in grams?")
            joint, count = link.joint, count + 1
            if joint is None:
                continue
            hinge, where = joint.type == "hinge", f"{part} joint {joint.name}"
            finger = joint.name in fingers
            most = _RANGE_RAD if hinge else (_FINGER_M if finger else _TRAVEL_M)
            unit = "rad; in degrees?" if hinge else "m; in millimetres?"
            for end in joint.range:
                _within(f"{where}: range", abs(end), 0.0, most, unit)
            fastest, strongest = (_SPEED_RAD_S, _EFFORT_NM) if hinge else (_SPEED_M_S, _EFFORT_N)
            unit = "rad/s; in degrees/s?" if hinge else "m/s; in mm/s?"
            _within(f"{where}: velocity", joint.velocity, 0.0, fastest, unit)
            _within(f"{where}: effort", joint.effort, 0.0, strongest, "N m; in N mm?" if hinge else "N")
    return f"{count} links have ranges, speeds, efforts and masses of the usual size"


def check_gripper(card: EmbodimentCard) -> str:
    """The jaws move along the tool's y axis, apart when they open, and as far as `max_width_m` says."""
    told = []
    for arm in card.arms:
        gripper = arm.gripper
        if gripper is None:
            continue
        shut, opened = (_finger_places(arm, value) for value in (0.0, 1.0))
        moves = opened - shut
        for finger, move in zip(gripper.fingers, moves):
            if abs(move[1]) < _ALONG_Y * np.linalg.norm(move):
                raise ValueError(
                    f"{arm.side} finger {finger} moves along {np.round(move, 3).tolist()} m in the tool's "
                    "frame when it opens; jaws must close along the tool's y axis"
                )
        spread = _spread(opened) - _spread(shut)
        if spread <= 0:
            raise ValueError(f"{arm.side} gripper: the jaws come nearer when they open; swap closed and open")
        travel = sum(abs(b - a) for a, b in zip(gripper.closed, gripper.open))
        slides = all(link.joint.type == "slide" for link in arm.links if link.joint and _is_finger(arm, link))
        low, high = _WIDTH
        if slides and not low * travel <= gripper.max_width_m <= high * travel:
            raise ValueError(
                f"{arm.side} gripper: max_width_m {gripper.max_width_m:g} does not fit the {travel:g} m that "
                "its fingers travel together"
            )
        told.append(f"{arm.side} jaws open {1e3 * gripper.max_width_m:.0f} mm")
    return "; ".join(told) or "no gripper"


def check_workspace(card: EmbodimentCard) -> str:
    """Positions that may be asked for lie in the workspace."""
    slack_m = 0.02
    for channel in card.actions if card.control == "ee_pose" else ():
        kind, axis = channel.slot.rsplit(".", 2)[-2:]
        if kind != "ee" or axis not in "xyz":
            continue
        low, high = card.workspace_m["xyz".index(axis)]
        if channel.range[0] < low - slack_m or channel.range[1] > high + slack_m:
            raise ValueError(
                f"action {channel.name}: {list(channel.range)} goes beyond the workspace's [{low}, {high}]"
            )
    return " x ".join(f"{high - low:.2f}" for low, high in card.workspace_m) + " m"


def check_views(card: EmbodimentCard) -> str:
    """A camera that stands in the room sees where the body works."""
    if not card.arms:
        return f"{len(card.cameras)} cameras"
    spots = [tool_pose(arm, home_joints(arm))[:3, 3] for arm in card.arms]
    (x0, x1), (y0, y1), _ = card.workspace_m
    spots.append(np.array([(x0 + x1) / 2, (y0 + y1) / 2, 0.0]))
    for camera in card.cameras:
        if camera.mount == "world" and not any(_sees(camera, spot) for spot in spots):
            raise ValueError(
                f"camera {camera.name} looks away: neither the tool at home nor the middle of the workspace "
                "is in its picture; a camera looks along its -z axis, its y axis is up"
            )
    return f"{len(card.cameras)} cameras look at the work"


def _within(what: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"{what} {value:g} is not within {low:g} ... {high:g} {unit}")


def _is_finger(arm: Arm, link) -> bool:  # type: ignore[no-untyped-def]
    return link.joint is not None and link.joint.name in arm.fingers


def _finger_places(arm: Arm, opening: float) -> np.ndarray:
    """Where the middle of each finger's first shape is in the tool's frame (F, 3)."""
    poses = link_poses(arm, home_joints(arm), opening)
    T_tool_robot = np.linalg.inv(tool_pose(arm, home_joints(arm)))
    found = {}
    for link in arm.links:
        if _is_finger(arm, link):
            middle = link.geoms[0].pos_m if link.geoms else (0.0, 0.0, 0.0)
            found[link.joint.name] = (T_tool_robot @ poses[link.name] @ [*middle, 1.0])[:3]  # type: ignore[union-attr]
    return np.stack([found[name] for name in arm.fingers])


def _spread(places: np.ndarray) -> float:
    """How far apart the jaws are along y; a single one from the tool's middle."""
    return float(np.ptp(places[:, 1]) if len(places) > 1 else abs(places[0, 1]))


def _sees(camera: Camera, place: np.ndarray) -> bool:
    w, x, y, z = np.array(camera.quat_wxyz) / np.linalg.norm(camera.quat_wxyz)
    axes = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    right, up, back = (place - np.array(camera.pos_m)) @ axes
    half = np.tan(camera.fovy_rad / 2)
    return bool(-back > 1e-3 and abs(right) < -back * half and abs(up) < -back * half)
