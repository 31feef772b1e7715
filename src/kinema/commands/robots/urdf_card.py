"""A first card from a maker's URDF: frames, joints, limits, masses, inertias and primitive shapes.

What a URDF does not say (gripper or hand, cameras, channels, hold) is generated, with a TODO behind every
line that must be looked at.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import arm_of, home_joints, home_rotation, tool_pose
from kinema.card.load import card_names, parse_card
from kinema.card.values import Side
from kinema.commands.robots.urdf import Joint, attribute, chain_to, joint_of, read
from kinema.commands.robots.urdf_links import link_rows, listed, mass_of, number, quat_of
from kinema.schema import KinemaError

_MOST_JOINTS = 7
_MISS_M = 2e-3
_ROOM_M = 0.35  # around a tool whose home is not solved for
_FINGER = "range: [0, 0.04], velocity: 0.05, effort: 30, home: 0.04"


def card_from_urdf(
    path: Path, name: str, tips: Sequence[str] = (), *, base: str = "", hand: Sequence[str] = ()
) -> str:
    """The YAML of a card.

    tips: the link that carries the gripper or hand, of two arms the left one's first; none: the end of the
        longest arm
    base: the link that the arms are fixed to, where it is when the joints before it are at 0; default: the
        URDF's own base, of two arms the last link that both hang on
    hand: names of a hand's values, in place of a gripper
    Raises KinemaError naming what the URDF lacks or what no card can hold, and for a shipped card's name.
    """
    if name in card_names():
        raise KinemaError(f"{name!r} is the name of a shipped card; give your card a name of its own")
    if len(tips) > 2:
        raise KinemaError(f"a card has one arm or two; got the tips {', '.join(tips)}")
    root = read(path)
    links = {attribute(link, "name"): link for link in root.findall("link")}
    joints = [joint_of(element, links) for element in root.findall("joint")]
    chains = [chain_to(joints, links, tip) for tip in tips or ("",)]
    begin = _before(path, chains, base)
    sides: tuple[Side, ...] = ("left", "right") if len(chains) == 2 else ("right",)
    arms = [
        _Arm(side=side, before=chain[:begin], chain=chain[begin:], hand=tuple(hand))
        for side, chain in zip(sides, chains)
    ]
    for arm in arms:
        _check_arm(path, arm)
    hands_kg = [
        sum(mass_of(link, links[link]) for link in _behind(arm.chain[-1].child, joints)) for arm in arms
    ]
    text = _yaml(path.name, name, arms, links, hands_kg)
    is_plain = len(arms) == 1 and not hand and not begin
    return _with_home(text, arms[0].reach_m) if is_plain else _at_zero(text)


@dataclass(frozen=True, kw_only=True)
class _Arm:
    """before: the joints before its base, which stand still; chain: those from there to its tip."""

    side: Side
    before: list[Joint]
    chain: list[Joint]
    hand: tuple[str, ...]

    @property
    def moving(self) -> list[Joint]:
        return [joint for joint in self.chain if joint.kind != "fixed"]

    @property
    def reach_m(self) -> float:
        moving = self.moving
        beyond = self.chain[self.chain.index(moving[1]) + 1 :] if len(moving) > 2 else self.chain
        return sum(float(np.linalg.norm(joint.xyz)) for joint in beyond)  # from the shoulder on

    @property
    def base(self) -> tuple[np.ndarray, np.ndarray]:
        """Where its base is in the robot's frame (3,) [m], and how it is turned (3, 3)."""
        at, turned = np.zeros(3), np.eye(3)
        for joint in self.before:
            at, turned = at + turned @ joint.xyz, turned @ joint.rotation
        return at, turned


def _before(path: Path, chains: Sequence[list[Joint]], base: str) -> int:
    """How many joints of every chain lie before the arms' base."""
    ways = [[chain[0].parent, *(joint.child for joint in chain)] for chain in chains]
    common = [links[0] for links in zip(*ways) if len(set(links)) == 1]
    if base and base not in common:
        raise KinemaError(f"{path}: {base!r} is not on the way to every tip; choices: {', '.join(common)}")
    return common.index(base) if base else len(common) - 1 if len(chains) > 1 else 0


def _behind(link: str, joints: Sequence[Joint]) -> list[str]:
    """The links that hang on a link."""
    own = [joint.child for joint in joints if joint.parent == link]
    return own + [other for child in own for other in _behind(child, joints)]


def _check_arm(path: Path, arm: _Arm) -> None:
    tip = arm.chain[-1].child if arm.chain else arm.before[-1].child
    if not 1 <= len(arm.moving) <= _MOST_JOINTS:
        raise KinemaError(
            f"{path}: {len(arm.moving)} joints lead to {tip!r}; a card's arm has 1 to 7. With --base LINK "
            "those before that link stand still"
        )
    made = {"hand", "left_finger", "right_finger", "gripper"}
    if taken := sorted(made & {word for joint in arm.chain for word in (joint.name, joint.child)}):
        raise KinemaError(
            f"{path}: {', '.join(taken)} on the way to {tip!r}: a gripper's own, it seems; say "
            "with --tip which link carries the gripper"
        )


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
    file: str, name: str, arms: Sequence[_Arm], links: dict[str, ET.Element], hands_kg: Sequence[float]
) -> str:
    reach_m = arms[0].reach_m
    low, high = 0.3 * reach_m, 0.65 * reach_m
    side, top = 0.35 * reach_m, 0.6 * reach_m
    rows = [_arm_rows(file, arm, links, hand_kg) for arm, hand_kg in zip(arms, hands_kg)]
    channels = [line for arm in arms for line in _channels(arm, both=len(arms) > 1)]
    return f"""version: 1
name: {name}
robot_tag: {name}  # TODO: the body's name in the prompt
control_hz: 10  # TODO: how often its controller takes a command
control: joint_position  # TODO: or ee_pose
source: "{file}"  # TODO: whose, and which version

arms:
{"".join(rows)}
cameras:
  - name: front  # TODO: where your cameras are
    tag: ego
    pos_m: {listed([(low + high) / 2 + 0.55, 0, 0.69])}
    quat_wxyz: [0.65763, 0.25986, 0.25986, 0.65763]
    fovy_rad: 0.8

actions: &channels
{chr(10).join(channels)}
states: *channels

workspace_m: {_room([low, -side, 0], [high, side, top])}  # TODO: its room
hold:
  action: position
  stop_after_s: 0.5
  source: "generated: absolute joint targets, so repeating the measured joints stands still; TODO"
"""


def _room(low: Sequence[float] | np.ndarray, high: Sequence[float] | np.ndarray) -> str:
    return f"[{', '.join(listed(ends) for ends in zip(low, high))}]"


def _channels(arm: _Arm, *, both: bool) -> Iterator[str]:
    side = f"{arm.side}_" if both else ""
    for i, joint in enumerate(arm.moving):
        unit = "rad" if joint.kind == "hinge" else "m"
        limits = listed([joint.limits["lower"], joint.limits["upper"]])
        yield f"  - {{name: {joint.name}, slot: {arm.side}.joint.{i}, unit: {unit}, range: {limits}}}"
    ends = {value: f"hand.{i}" for i, value in enumerate(arm.hand)} or {"gripper": "gripper"}
    for value, slot in ends.items():
        yield f"  - {{name: {side}{value}, slot: {arm.side}.{slot}, unit: fraction, range: [0, 1]}}"


def _arm_rows(file: str, arm: _Arm, links: dict[str, ET.Element], hand_kg: float) -> str:
    root, (at, turned) = arm.chain[0].parent, arm.base
    rows = [f"  - side: {arm.side}"]
    if arm.before:
        rows += [f"    base_pos_m: {listed(at)}", f"    base_quat_wxyz: {listed(quat_of(turned))}"]
    rows += [f'    source: "{file}: frames, ranges, velocities, efforts, masses, inertias"', "    links:"]
    if not arm.before:
        rows.append(link_rows(root, "base", np.zeros(3), np.eye(3), None, links, arm.chain))
    names = {root: "base"}  # a fixed base's child hangs on the base itself
    for joint in arm.chain:
        rows.append(
            link_rows(joint.child, names[joint.parent], joint.xyz, joint.rotation, joint, links, arm.chain)
        )
        names[joint.child] = joint.child
    end = _HAND.format(tip=arm.chain[-1].child, values=", ".join(arm.hand), mass=number(hand_kg or 0.5))
    return "\n".join([*rows, end if arm.hand else _GRIPPER.format(tip=arm.chain[-1].child, finger=_FINGER)])


_HAND = """      - name: hand  # TODO: one box for the whole hand
        parent: {tip}
        pos_m: [0, 0, 0]
        mass_kg: {mass}  # TODO: all that the URDF hangs on the link before it
        com_m: [0, 0, 0.08]  # TODO
        geoms:
          - {{type: box, size_m: [0.02, 0.04, 0.08], pos_m: [0, 0, 0.08]}}
    tool:
      link: hand
      pos_m: [0, 0, 0.12]  # TODO: where it holds things; z along the fingers, y across the palm
      source: "generated; TODO"
    hand:
      values: [{values}]
      speed: 2  # TODO: how fast a command may change a value, per second
      source: "generated; TODO"
"""
_GRIPPER = """      - name: hand  # TODO: your gripper; these are two sliding fingers of 80 mm
        parent: {tip}
        pos_m: [0, 0, 0]
        mass_kg: 0.5
        com_m: [0, 0, 0.04]
        geoms:
          - {{type: box, size_m: [0.03, 0.06, 0.03], pos_m: [0, 0, 0.03]}}
      - name: left_finger
        parent: hand
        pos_m: [0, 0, 0.06]
        joint: {{name: left_finger, type: slide, axis: [0, 1, 0], {finger}}}
        mass_kg: 0.05
        geoms:
          - {{type: box, size_m: [0.01, 0.007, 0.03], pos_m: [0, 0.007, 0.03]}}
      - name: right_finger
        parent: hand
        pos_m: [0, 0, 0.06]
        joint: {{name: right_finger, type: slide, axis: [0, -1, 0], {finger}}}
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
"""


def _at_zero(text: str) -> str:
    """The card at home where its joints are at 0, or as near as they can be, with room around its tools."""
    card = parse_card(text.encode(), "the card made from the URDF")
    poses = [tool_pose(arm, home_joints(arm)) for arm in card.arms]
    places = np.stack([pose[:3, 3] for pose in poses])
    eye = places.mean(0) + np.array([0.55, 0.0, 0.69])
    room = _room(places.min(0) - _ROOM_M, places.max(0) + _ROOM_M)
    text = re.sub(r"(?m)^workspace_m: \S.*\]\]", f"workspace_m: {room}", text)
    text = re.sub(r"(?m)^    pos_m: .*$", f"    pos_m: {listed(eye)}", text)
    turns = iter(poses)
    return re.sub(
        r"(?m)^      link: hand$",
        lambda _: (
            f"      link: hand\n      home_quat_wxyz: {listed(quat_of(next(turns)[:3, :3]))}  # TODO: at home"
        ),
        text,
    )


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
