"""A first card from a maker's URDF: frames, joints, limits, masses, inertias and primitive shapes.

What a URDF does not say (gripper, cameras, channels, hold) is generated, with a TODO behind every line that
must be looked at.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinema.card.card import EmbodimentCard, Side
from kinema.card.kinematics import arm_of, home_rotation
from kinema.card.load import card_names, parse_card
from kinema.commands.robots.urdf import Joint, attribute, chain_to, joint_of, read
from kinema.commands.robots.urdf_links import link_rows, listed, number
from kinema.schema import KinemaError

_MOST_JOINTS = 7
_MISS_M = 2e-3
_FINGER = "range: [0, 0.04], velocity: 0.05, effort: 30, home: 0.04"


def card_from_urdf(path: Path, name: str, tip: str = "") -> str:
    """The YAML of a card. tip: the link that carries the gripper; default: the end of the longest arm.

    Raises KinemaError naming what the URDF lacks or what no card can hold, and for a shipped card's name.
    """
    if name in card_names():
        raise KinemaError(f"{name!r} is the name of a shipped card; give your card a name of its own")
    root = read(path)
    links = {attribute(link, "name"): link for link in root.findall("link")}
    joints = [joint_of(element, links) for element in root.findall("joint")]
    chain = chain_to(joints, links, tip)
    moving = [joint for joint in chain if joint.kind != "fixed"]
    if not 1 <= len(moving) <= _MOST_JOINTS:
        raise KinemaError(
            f"{path}: {len(moving)} joints lead to {chain[-1].child!r}; a card's arm has 1 to 7"
        )
    made = {"hand", "left_finger", "right_finger", "gripper"}
    if taken := sorted(made & {word for joint in chain for word in (joint.name, joint.child)}):
        raise KinemaError(
            f"{path}: {', '.join(taken)} on the way to {chain[-1].child!r}: a gripper's own, it seems; say "
            "with --tip which link carries the gripper"
        )
    beyond = chain[chain.index(moving[1]) + 1 :] if len(moving) > 2 else chain  # the shoulder
    reach_m = sum(float(np.linalg.norm(joint.xyz)) for joint in beyond)
    text = _yaml(path.name, name, chain, moving, links, reach_m)
    return _with_home(text, reach_m)


def home_lines(card: EmbodimentCard, at_m: Sequence[float], side: Side = "right") -> dict[str, float]:
    """Joint values by name that bring the tool straight down to a place in the robot's frame [m].

    Raises KinemaError when it is out of reach.
    """
    from kinema.worlds.body.control import Kinematics

    kinematics, arm = Kinematics(card), arm_of(card, side)
    handle, wanted = kinematics.robot.arm(side), home_rotation(arm)
    rng = np.random.default_rng(0)
    best: tuple[float, float, np.ndarray] = (np.inf, np.inf, handle.home)
    for attempt in range(60):
        start = handle.home if attempt == 0 else rng.uniform(handle.lower, handle.upper)
        joints = kinematics.solve(
            side, np.asarray(at_m, float), wanted, start, iterations=150, tolerance=1e-6
        )
        position, rotation = kinematics.tool_pose(side, joints)
        miss_m = float(np.linalg.norm(position - at_m))
        tilt = float(np.arccos(np.clip((np.trace(wanted.T @ rotation) - 1) / 2, -1.0, 1.0)))
        if miss_m + 0.1 * tilt < best[0] + 0.1 * best[1]:
            best = (miss_m, tilt, joints)
        if best[0] < 1e-4 and best[1] < 1e-3:
            break
    if best[0] > _MISS_M or best[1] > 2e-3:
        place = " ".join(f"{metres:g}" for metres in at_m)
        raise KinemaError(
            f"{card.name} does not reach {place} with its tool straight down: it misses by "
            f"{1e3 * best[0]:.1f} mm and {best[1]:.3f} rad; another place, or another tool.home_quat_wxyz?"
        )
    return {joint.name: round(float(value), 5) for joint, value in zip(arm.joints, best[2])}


def _yaml(
    file: str, name: str, chain: list[Joint], moving: list[Joint], links: dict[str, ET.Element],
    reach_m: float,
) -> str:  # fmt: skip
    root = chain[0].parent
    rows = [link_rows(root, "base", np.zeros(3), np.eye(3), None, links, chain)]
    names = {root: "base"}  # a fixed base's child hangs on the base itself
    for joint in chain:
        rows.append(
            link_rows(joint.child, names[joint.parent], joint.xyz, joint.rotation, joint, links, chain)
        )
        names[joint.child] = joint.child
    low, high = 0.3 * reach_m, 0.65 * reach_m
    side, top = 0.35 * reach_m, 0.6 * reach_m
    middle = (low + high) / 2
    eye = np.array([middle + 0.55, 0.0, 0.69])
    channels = [
        f"  - {{name: {joint.name}, slot: right.joint.{i}, unit: {'rad' if joint.kind == 'hinge' else 'm'}, "
        f"range: [{number(joint.limits['lower'])}, {number(joint.limits['upper'])}]}}"
        for i, joint in enumerate(moving)
    ]
    channels.append("  - {name: gripper, slot: right.gripper, unit: fraction, range: [0, 1]}")
    lines = "\n".join(channels)
    return f"""version: 1
name: {name}
robot_tag: {name}  # TODO: the body's name in the prompt
control_hz: 10  # TODO: how often its controller takes a command
control: joint_position  # TODO: or ee_pose
source: "{file}"  # TODO: whose, and which version

arms:
  - side: right
    source: "{file}: frames, ranges, velocities, efforts, masses, inertias"
    links:
{chr(10).join(rows)}
      - name: hand  # TODO: your gripper; these are two sliding fingers of 80 mm
        parent: {chain[-1].child}
        pos_m: [0, 0, 0]
        mass_kg: 0.5
        com_m: [0, 0, 0.04]
        geoms:
          - {{type: box, size_m: [0.03, 0.06, 0.03], pos_m: [0, 0, 0.03]}}
      - name: left_finger
        parent: hand
        pos_m: [0, 0, 0.06]
        joint: {{name: left_finger, type: slide, axis: [0, 1, 0], {_FINGER}}}
        mass_kg: 0.05
        geoms:
          - {{type: box, size_m: [0.01, 0.007, 0.03], pos_m: [0, 0.007, 0.03]}}
      - name: right_finger
        parent: hand
        pos_m: [0, 0, 0.06]
        joint: {{name: right_finger, type: slide, axis: [0, -1, 0], {_FINGER}}}
        mass_kg: 0.05
        geoms:
          - {{type: box, size_m: [0.01, 0.007, 0.03], pos_m: [0, -0.007, 0.03]}}
    tool:
      link: hand
      pos_m: [0, 0, 0.11]  # TODO: between the tips; z out of the gripper, y as the jaws close
      source: "generated; TODO"
    gripper:
      fingers: [left_finger, right_finger]
      closed: [0.0, 0.0]
      open: [0.04, 0.04]
      max_width_m: 0.08
      effort: 30
      source: "generated; TODO"

cameras:
  - name: front  # TODO: where your cameras are
    tag: ego
    pos_m: [{number(eye[0])}, 0, {number(eye[2])}]
    quat_wxyz: [0.65763, 0.25986, 0.25986, 0.65763]
    fovy_rad: 0.8

actions: &channels
{lines}
states: *channels

workspace_m: [[{number(low)}, {number(high)}], [{number(-side)}, {number(side)}], [0.0, {number(top)}]]  # TODO: its room
hold:
  action: position
  stop_after_s: 0.5
  source: "generated: absolute joint targets, so repeating the measured joints stands still; TODO"
"""


def _with_home(text: str, reach_m: float) -> str:
    """The card with a home that points the tool straight down, where one is found within reach."""
    card = parse_card(text.encode(), "the card made from the URDF")
    for x, z in ((0.45, 0.3), (0.4, 0.2), (0.5, 0.15), (0.35, 0.4), (0.55, 0.5)):
        try:
            home = home_lines(card, (x * reach_m, 0.0, z * reach_m))
        except KinemaError:
            continue
        for name, value in home.items():
            head, tail = text.split(f"{{name: {name}, type: ", 1)
            line, rest = tail.split("\n", 1)
            line = line[: line.rindex("home: ")] + f"home: {number(value)}}}"
            text = f"{head}{{name: {name}, type: {line}\n{rest}"
        return text
    return "# TODO: no home with the tool straight down was found; try `kinema robots home`\n" + text
