"""A link of a URDF as the rows of a card: its frame, its joint, its mass and its shapes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np

from kinema.card.card import Link
from kinema.commands.robots.urdf import Joint, numbers, origin
from kinema.schema import KinemaError


def link_rows(
    link: str, parent: str, xyz: np.ndarray, rotation: np.ndarray, joint: Joint | None,
    links: dict[str, ET.Element], chain: list[Joint],
) -> str:  # fmt: skip
    rows = [f"      - name: {link}", f"        parent: {parent}", f"        pos_m: {listed(xyz)}"]
    quat = quat_of(rotation)
    if abs(quat[0]) < 1 - 1e-9:
        rows.append(f"        quat_wxyz: {listed(quat)}")
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
            f"        joint: {{name: {joint.name}, type: {joint.kind}, axis: {listed(joint.axis)}, range: "
            f"{listed([limits['lower'], limits['upper']])}, velocity: {number(limits['velocity'])}, "
            f"effort: {number(limits['effort'])}, home: {number(home)}}}"
        )
    rows += _masses(link, links[link])
    if shapes := _shapes(link, links[link], chain):
        rows += ["        geoms:", *(f"          - {shape}" for shape in shapes)]
    return "\n".join(rows)


def mass_of(link: str, element: ET.Element) -> float:
    """What a link weighs [kg]; 0 where the URDF does not say."""
    stated = element.find("inertial/mass")
    return 0.0 if stated is None else float(numbers(stated.get("value"), 1, f"link {link}: mass")[0])


def _masses(link: str, element: ET.Element) -> list[str]:
    inertial, mass = element.find("inertial"), mass_of(link, element)
    if inertial is None or mass <= 0:
        return ["        mass_kg: 0.001  # TODO: the URDF gives no mass"]
    com, rotation = origin(inertial, f"link {link}: inertial")
    rows = [f"        mass_kg: {number(mass)}", f"        com_m: {listed(com)}"]
    stated = inertial.find("inertia")
    if stated is None:
        return rows
    parts = {k: float(numbers(v, 1, f"link {link}: {k}")[0]) for k, v in stated.items()}
    xx, yy, zz, xy, xz, yz = (parts.get(key, 0.0) for key in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz"))
    tensor = rotation @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ rotation.T
    moments = tensor[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    try:
        Link(name=link, parent="base", pos_m=(0, 0, 0), mass_kg=mass, inertia_kgm2=tuple(moments.tolist()))
    except ValueError:
        return [*rows, f"        # TODO: inertia {listed(moments)} of the URDF is no body's"]
    return [*rows, f"        inertia_kgm2: {listed(moments)}"]


def _shapes(link: str, element: ET.Element, chain: list[Joint]) -> list[str]:
    """The collision primitives; where there are none, a capsule towards the next joint."""
    found = []
    for collision in element.findall("collision"):
        pos, rotation = origin(collision, f"link {link}: collision")
        where = f"pos_m: {listed(pos)}, quat_wxyz: {listed(quat_of(rotation))}"
        for shape in collision.iterfind("geometry/*"):
            if shape.tag == "box":
                size = numbers(shape.get("size"), 3, f"link {link}: box") / 2
                found.append(f"{{type: box, size_m: {listed(size)}, {where}}}")
            elif shape.tag == "sphere":
                ball = numbers(shape.get("radius"), 1, f"link {link}: sphere")
                found.append(f"{{type: sphere, size_m: {listed(ball)}, {where}}}")
            elif shape.tag in ("cylinder", "capsule"):
                radius = float(numbers(shape.get("radius"), 1, f"link {link}: {shape.tag}")[0])
                length = float(numbers(shape.get("length"), 1, f"link {link}: {shape.tag}")[0])
                found.append(
                    f"{{type: {shape.tag}, size_m: [{number(radius)}, {number(length / 2)}], {where}}}"
                )
    following = next((joint.xyz for joint in chain if joint.parent == link), None)
    if not found and following is not None and np.linalg.norm(following) > 0.02:
        half = float(np.linalg.norm(following)) / 2
        quat = quat_of(_turn_z_to(following))
        found = [
            f"{{type: capsule, size_m: {listed([0.03, max(half - 0.03, 0.005)])}, "
            f"pos_m: {listed(following / 2)}, quat_wxyz: {listed(quat)}, "
            "collide: false}  # TODO: its true shape"
        ]
    return found


def _turn_z_to(direction: np.ndarray) -> np.ndarray:
    z = direction / np.linalg.norm(direction)
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    return np.column_stack([x, np.cross(z, x), z])


def quat_of(rotation: np.ndarray) -> np.ndarray:
    from kinema.space.rotation import rotvec_from_matrix

    vector = rotvec_from_matrix(rotation)
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.array([1.0, 0.0, 0.0, 0.0])
    return np.array([np.cos(angle / 2), *(np.sin(angle / 2) * vector / angle)])


def number(value: float) -> str:
    text = np.format_float_positional(round(float(value), 9), trim="0")
    return "0.0" if text in ("-0.0", "0.") else text


def listed(values: Sequence[float] | np.ndarray) -> str:
    return f"[{', '.join(number(value) for value in values)}]"
