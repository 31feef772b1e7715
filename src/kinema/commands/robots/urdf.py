"""What a URDF says: its links, its joints, and the way from its base to a link."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.schema import KinemaError

_MOST_BYTES = 8_000_000
_MOVING = {"revolute": "hinge", "continuous": "hinge", "prismatic": "slide"}
_TURN_RAD = 6.28319


@dataclass(frozen=True, kw_only=True)
class Joint:
    name: str
    kind: str  # hinge, slide or fixed
    parent: str
    child: str
    xyz: np.ndarray
    rotation: np.ndarray
    axis: np.ndarray
    limits: dict[str, float]


def read(path: Path) -> ET.Element:
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


def attribute(element: ET.Element, name: str) -> str:
    if (value := element.get(name)) is None:
        raise KinemaError(f"a <{element.tag}> has no {name}")
    return value


def numbers(text: str | None, count: int, what: str) -> np.ndarray:
    try:
        values = np.array([float(word) for word in (text or "0 " * count).split()])
    except ValueError:
        raise KinemaError(f"{what}: {text!r} are no numbers") from None
    if values.shape != (count,) or not np.isfinite(values).all():
        raise KinemaError(f"{what}: {count} finite numbers are needed, got {text!r}")
    return values


def origin(element: ET.Element | None, what: str) -> tuple[np.ndarray, np.ndarray]:
    origin = None if element is None else element.find("origin")
    if origin is None:
        return np.zeros(3), np.eye(3)
    roll, pitch, yaw = numbers(origin.get("rpy"), 3, f"{what}: rpy")
    (sr, sp, sy), (cr, cp, cy) = np.sin([roll, pitch, yaw]), np.cos([roll, pitch, yaw])
    rotation = np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )
    return numbers(origin.get("xyz"), 3, f"{what}: xyz"), rotation


def joint_of(element: ET.Element, links: dict[str, ET.Element]) -> Joint:
    name, kind = attribute(element, "name"), attribute(element, "type")
    if kind != "fixed" and kind not in _MOVING:
        raise KinemaError(f"joint {name}: type {kind!r}; a card's are {', '.join(_MOVING)} and fixed")
    ends = []
    for end in ("parent", "child"):
        part = element.find(end)
        link = "" if part is None else part.get("link", "")
        if link not in links:
            raise KinemaError(f"joint {name}: its {end} {link!r} is no link of the file")
        ends.append(link)
    xyz, rotation = origin(element, f"joint {name}")
    axis_of = element.find("axis")
    axis = numbers("1 0 0" if axis_of is None else axis_of.get("xyz"), 3, f"joint {name}: axis")
    if kind != "fixed" and np.linalg.norm(axis) < 1e-6:
        raise KinemaError(f"joint {name}: its axis has no direction")
    found = element.find("limit")
    limits = (
        {} if found is None else {k: float(numbers(v, 1, f"joint {name}: {k}")[0]) for k, v in found.items()}
    )
    return Joint(
        name=name, kind=_MOVING.get(kind, "fixed"), parent=ends[0], child=ends[1], xyz=xyz, rotation=rotation,
        axis=axis / max(float(np.linalg.norm(axis)), 1e-9),
        limits=({"lower": -_TURN_RAD, "upper": _TURN_RAD} if kind == "continuous" else {}) | limits,
    )  # fmt: skip


def chain_to(joints: list[Joint], links: dict[str, ET.Element], tip: str) -> list[Joint]:
    """The joints from the base to the tip."""
    above = {joint.child: joint for joint in joints}

    def up(link: str) -> list[Joint]:
        way: list[Joint] = []
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
