"""A first card from a maker's URDF: frames, joints, limits, masses, inertias and primitive shapes.

What a URDF does not say (gripper, cameras, channels, hold) is generated, with a TODO behind every line that
must be looked at.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.card.card import EmbodimentCard, Link, Side
from kinema.card.kinematics import arm_of, home_rotation
from kinema.card.load import card_names, parse_card
from kinema.schema import KinemaError

_MOST_BYTES = 8_000_000
_MOVING = {"revolute": "hinge", "continuous": "hinge", "prismatic": "slide"}
_MOST_JOINTS = 7
_TURN_RAD = 6.28319
_MISS_M = 2e-3
_FINGER = "range: [0, 0.04], velocity: 0.05, effort: 30, home: 0.04"


@dataclass(frozen=True, kw_only=True)
class _Joint:
    name: str
    kind: str  # hinge, slide or fixed
    parent: str
    child: str
    xyz: np.ndarray
    rotation: np.ndarray
    axis: np.ndarray
    limits: dict[str, float]


def card_from_urdf(path: Path, name: str, tip: str = "") -> str:
    """The YAML of a card. tip: the link that carries the gripper; default: the end of the longest arm.

    Raises KinemaError naming what the URDF lacks or what no card can hold, and for a shipped card's name.
    """
    if name in card_names():
        raise KinemaError(f"{name!r} is the name of a shipped card; give your card a name of its own")
    root = _read(path)
    links = {_attribute(link, "name"): link for link in root.findall("link")}
    joints = [_joint(element, links) for element in root.findall("joint")]
    chain = _chain(joints, links, tip)
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


def _read(path: Path) -> ET.Element:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KinemaError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise KinemaError(f"{path}: larger than 8 MB, or declares entities; a plain URDF does neither")
    try:
        root = ET.fromstring(data)
    except ET.ParseError as error:
        raise KinemaError(f"{path}: is no XML: {error}") from None
    if root.tag != "robot" or ("xacro" in data[:2000].decode(errors="replace") and b"<xacro:" in data):
        raise KinemaError(f"{path}: is no URDF (the outermost element is <{root.tag}>); expand xacro first")
    return root


def _attribute(element: ET.Element, name: str) -> str:
    if (value := element.get(name)) is None:
        raise KinemaError(f"a <{element.tag}> has no {name}")
    return value


def _numbers(text: str | None, count: int, what: str) -> np.ndarray:
    try:
        values = np.array([float(word) for word in (text or "0 " * count).split()])
    except ValueError:
        raise KinemaError(f"{what}: {text!r} are no numbers") from None
    if values.shape != (count,) or not np.isfinite(values).all():
        raise KinemaError(f"{what}: {count} finite numbers are needed, got {text!r}")
    return values


def _origin(element: ET.Element | None, what: str) -> tuple[np.ndarray, np.ndarray]:
    origin = None if element is None else element.find("origin")
    if origin is None:
        return np.zeros(3), np.eye(3)
    roll, pitch, yaw = _numbers(origin.get("rpy"), 3, f"{what}: rpy")
    (sr, sp, sy), (cr, cp, cy) = np.sin([roll, pitch, yaw]), np.cos([roll, pitch, yaw])
    rotation = np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )
    return _numbers(origin.get("xyz"), 3, f"{what}: xyz"), rotation


def _joint(element: ET.Element, links: dict[str, ET.Element]) -> _Joint:
    name, kind = _attribute(element, "name"), _attribute(element, "type")
    if kind != "fixed" and kind not in _MOVING:
        raise KinemaError(f"joint {name}: type {kind!r}; a card's are {', '.join(_MOVING)} and fixed")
    ends = []
    for end in ("parent", "child"):
        part = element.find(end)
        link = "" if part is None else part.get("link", "")
        if link not in links:
            raise KinemaError(f"joint {name}: its {end} {link!r} is no link of the file")
        ends.append(link)
    xyz, rotation = _origin(element, f"joint {name}")
    axis_of = element.find("axis")
    axis = _numbers("1 0 0" if axis_of is None else axis_of.get("xyz"), 3, f"joint {name}: axis")
    if kind != "fixed" and np.linalg.norm(axis) < 1e-6:
        raise KinemaError(f"joint {name}: its axis has no direction")
    found = element.find("limit")
    limits = (
        {} if found is None else {k: float(_numbers(v, 1, f"joint {name}: {k}")[0]) for k, v in found.items()}
    )
    return _Joint(
        name=name, kind=_MOVING.get(kind, "fixed"), parent=ends[0], child=ends[1], xyz=xyz, rotation=rotation,
        axis=axis / max(float(np.linalg.norm(axis)), 1e-9),
        limits=({"lower": -_TURN_RAD, "upper": _TURN_RAD} if kind == "continuous" else {}) | limits,
    )  # fmt: skip


def _chain(joints: list[_Joint], links: dict[str, ET.Element], tip: str) -> list[_Joint]:
    """The joints from the base to the tip."""
    above = {joint.child: joint for joint in joints}

    def up(link: str) -> list[_Joint]:
        way: list[_Joint] = []
        while link in above:
            way.insert(0, above[link])
            link = above[link].parent
            if len(way) > len(joints):
                raise KinemaError(f"the joints around {link!r} go in a circle")
        return way

    if tip and tip not in links:
        raise KinemaError(f"no link {tip!r}; choices: {', '.join(links)}")
    if tip:
        return up(tip)
    hinges = {link: sum(joint.kind == "hinge" for joint in up(link)) for link in links}
    longest = max(hinges.values(), default=0)
    # the first link behind the last hinge of the longest arm; what is behind it is its gripper
    ends = [link for link, count in hinges.items() if count == longest and link in above]
    ends = [link for link in ends if above[link].kind == "hinge"]
    if longest == 0 or len(ends) != 1:
        raise KinemaError(
            f"which link carries the gripper? say --tip; candidates: {', '.join(ends) or 'none'}"
        )
    return up(ends[0])


def _yaml(
    file: str, name: str, chain: list[_Joint], moving: list[_Joint], links: dict[str, ET.Element],
    reach_m: float,
) -> str:  # fmt: skip
    root = chain[0].parent
    rows = [_link_rows(root, "base", np.zeros(3), np.eye(3), None, links, chain)]
    names = {root: "base"}  # a fixed base's child hangs on the base itself
    for joint in chain:
        rows.append(
            _link_rows(joint.child, names[joint.parent], joint.xyz, joint.rotation, joint, links, chain)
        )
        names[joint.child] = joint.child
    low, high = 0.3 * reach_m, 0.65 * reach_m
    side, top = 0.35 * reach_m, 0.6 * reach_m
    middle = (low + high) / 2
    eye = np.array([middle + 0.55, 0.0, 0.69])
    channels = [
        f"  - {{name: {joint.name}, slot: right.joint.{i}, unit: {'rad' if joint.kind == 'hinge' else 'm'}, "
        f"range: [{_n(joint.limits['lower'])}, {_n(joint.limits['upper'])}]}}"
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
    pos_m: [{_n(eye[0])}, 0, {_n(eye[2])}]
    quat_wxyz: [0.65763, 0.25986, 0.25986, 0.65763]
    fovy_rad: 0.8

actions: &channels
{lines}
states: *channels

workspace_m: [[{_n(low)}, {_n(high)}], [{_n(-side)}, {_n(side)}], [0.0, {_n(top)}]]  # TODO: its room
hold:
  action: position
  stop_after_s: 0.5
  source: "generated: absolute joint targets, so repeating the measured joints stands still; TODO"
"""


def _link_rows(
    link: str, parent: str, xyz: np.ndarray, rotation: np.ndarray, joint: _Joint | None,
    links: dict[str, ET.Element], chain: list[_Joint],
) -> str:  # fmt: skip
    rows = [f"      - name: {link}", f"        parent: {parent}", f"        pos_m: {_list(xyz)}"]
    quat = _quat(rotation)
    if abs(quat[0]) < 1 - 1e-9:
        rows.append(f"        quat_wxyz: {_list(quat)}")
    if joint is not None and joint.kind != "fixed":
        missing = [key for key in ("lower", "upper", "velocity", "effort") if key not in joint.limits]
        if missing:
            raise KinemaError(f"joint {joint.name}: <limit> lacks {', '.join(missing)}")
        limits = joint.limits
        for key in ("velocity", "effort"):
            if limits[key] <= 0:
                raise KinemaError(f"joint {joint.name}: {key} {limits[key]:g} must be above 0")
        home = float(np.clip(0.0, limits["lower"], limits["upper"]))
        rows.append(
            f"        joint: {{name: {joint.name}, type: {joint.kind}, axis: {_list(joint.axis)}, range: "
            f"[{_n(limits['lower'])}, {_n(limits['upper'])}], velocity: {_n(limits['velocity'])}, "
            f"effort: {_n(limits['effort'])}, home: {_n(home)}}}"
        )
    rows += _masses(link, links[link])
    if shapes := _shapes(link, links[link], chain):
        rows += ["        geoms:", *(f"          - {shape}" for shape in shapes)]
    return "\n".join(rows)


def _masses(link: str, element: ET.Element) -> list[str]:
    inertial = element.find("inertial")
    mass_of = None if inertial is None else inertial.find("mass")
    mass = 0.0 if mass_of is None else float(_numbers(mass_of.get("value"), 1, f"link {link}: mass")[0])
    if inertial is None or mass <= 0:
        return ["        mass_kg: 0.001  # TODO: the URDF gives no mass"]
    com, rotation = _origin(inertial, f"link {link}: inertial")
    rows = [f"        mass_kg: {_n(mass)}", f"        com_m: {_list(com)}"]
    stated = inertial.find("inertia")
    if stated is None:
        return rows
    parts = {k: float(_numbers(v, 1, f"link {link}: {k}")[0]) for k, v in stated.items()}
    xx, yy, zz, xy, xz, yz = (parts.get(key, 0.0) for key in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz"))
    tensor = rotation @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ rotation.T
    numbers = tensor[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    try:
        Link(name=link, parent="base", pos_m=(0, 0, 0), mass_kg=mass, inertia_kgm2=tuple(numbers.tolist()))
    except ValueError:
        return [*rows, f"        # TODO: inertia {_list(numbers)} of the URDF is no body's"]
    return [*rows, f"        inertia_kgm2: {_list(numbers)}"]


def _shapes(link: str, element: ET.Element, chain: list[_Joint]) -> list[str]:
    """The collision primitives; where there are none, a capsule towards the next joint."""
    found = []
    for collision in element.findall("collision"):
        pos, rotation = _origin(collision, f"link {link}: collision")
        where = f"pos_m: {_list(pos)}, quat_wxyz: {_list(_quat(rotation))}"
        for shape in collision.iterfind("geometry/*"):
            if shape.tag == "box":
                size = _numbers(shape.get("size"), 3, f"link {link}: box") / 2
                found.append(f"{{type: box, size_m: {_list(size)}, {where}}}")
            elif shape.tag == "sphere":
                ball = _numbers(shape.get("radius"), 1, f"link {link}: sphere")
                found.append(f"{{type: sphere, size_m: {_list(ball)}, {where}}}")
            elif shape.tag in ("cylinder", "capsule"):
                radius = float(_numbers(shape.get("radius"), 1, f"link {link}: {shape.tag}")[0])
                length = float(_numbers(shape.get("length"), 1, f"link {link}: {shape.tag}")[0])
                found.append(f"{{type: {shape.tag}, size_m: [{_n(radius)}, {_n(length / 2)}], {where}}}")
    following = next((joint.xyz for joint in chain if joint.parent == link), None)
    if not found and following is not None and np.linalg.norm(following) > 0.02:
        half = float(np.linalg.norm(following)) / 2
        quat = _quat(_turn_z_to(following))
        found = [
            f"{{type: capsule, size_m: [0.03, {_n(max(half - 0.03, 0.005))}], pos_m: {_list(following / 2)}, "
            f"quat_wxyz: {_list(quat)}, collide: false}}  # TODO: its true shape"
        ]
    return found


def _turn_z_to(direction: np.ndarray) -> np.ndarray:
    z = direction / np.linalg.norm(direction)
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    return np.column_stack([x, np.cross(z, x), z])


def _quat(rotation: np.ndarray) -> np.ndarray:
    from kinema.space.rotation import rotvec_from_matrix

    vector = rotvec_from_matrix(rotation)
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.array([1.0, 0.0, 0.0, 0.0])
    return np.array([np.cos(angle / 2), *(np.sin(angle / 2) * vector / angle)])


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
            line = line[: line.rindex("home: ")] + f"home: {_n(value)}}}"
            text = f"{head}{{name: {name}, type: {line}\n{rest}"
        return text
    return "# TODO: no home with the tool straight down was found; try `kinema robots home`\n" + text


def _n(value: float) -> str:
    text = np.format_float_positional(round(float(value), 9), trim="0")
    return "0.0" if text in ("-0.0", "0.") else text


def _list(values: Sequence[float] | np.ndarray) -> str:
    return f"[{', '.join(_n(value) for value in values)}]"
