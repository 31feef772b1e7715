"""What a kind of thing is made of: painted parts around a simple solid that the jaws close on.

Lengths in metres in the thing's own frame: the origin is the middle of its solid, z up, x its long side; jaws
close along y. What is seen may reach beyond what is felt (a handle, a spout).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np

Point = tuple[float, float, float]
RGB = tuple[float, float, float]

STEEL, DARK, PALE = (0.72, 0.73, 0.76), (0.10, 0.10, 0.11), (0.93, 0.92, 0.88)
WOOD, LEAF, STALK = (0.70, 0.50, 0.30), (0.25, 0.55, 0.20), (0.36, 0.24, 0.13)


@dataclass(frozen=True)
class Paint:
    """rgb: None for the thing's own colour. shade: what it is multiplied by. texture: its name."""

    rgb: RGB | None = None
    shade: float = 1.0
    texture: str = ""
    alpha: float = 1.0

    def on(self, own: RGB) -> tuple[float, float, float, float]:
        red, green, blue = (float(np.clip(self.shade * c, 0.0, 1.0)) for c in self.rgb or own)
        return red, green, blue, self.alpha


OWN = Paint()
Color = Paint | RGB


@dataclass(frozen=True)
class Part:
    """One geom that is only seen. size: as MuJoCo has it for the type; of a mesh, a factor thrice.

    mesh: its file, without .stl
    """

    type: mujoco.mjtGeom
    size: Point
    pos: Point
    quat: tuple[float, float, float, float]
    paint: Paint
    mesh: str = ""


@dataclass(frozen=True)
class Kind:
    """half_m: half extents of the solid; round: a hexagonal prism instead of a box.

    colors: those it is found in; empty for any
    """

    name: str
    half_m: Point
    parts: tuple[Part, ...]
    round: bool = False
    colors: tuple[str, ...] = ()


def kind(
    name: str, half_m: Point, *parts: Part | Sequence[Part], round: bool = False, colors: str = ""
) -> Kind:
    flat = [one for part in parts for one in ([part] if isinstance(part, Part) else part)]
    return Kind(name, half_m, tuple(flat), round, tuple(colors.split()))


def box(at: Point, half: Point, paint: Color = OWN, *, tilt_rad: float = 0.0, about: str = "y") -> Part:
    """tilt_rad: turned about an axis through its middle."""
    return _part(mujoco.mjtGeom.mjGEOM_BOX, half, at, _turned(about, tilt_rad), paint)


def egg(at: Point, half: Point, paint: Color = OWN) -> Part:
    return _part(mujoco.mjtGeom.mjGEOM_ELLIPSOID, half, at, np.array([1.0, 0, 0, 0]), paint)


def ball(at: Point, radius: float, paint: Color = OWN) -> Part:
    return egg(at, (radius, radius, radius), paint)


def rod(start: Point, end: Point, radius: float, paint: Color = OWN) -> Part:
    """With round ends, which lie beyond the points."""
    return _along(mujoco.mjtGeom.mjGEOM_CAPSULE, start, end, radius, paint)


def roll(start: Point, end: Point, radius: float, paint: Color = OWN) -> Part:
    """A cylinder between the middles of its faces."""
    return _along(mujoco.mjtGeom.mjGEOM_CYLINDER, start, end, radius, paint)


def upright(radius: float, low: float, high: float, paint: Color = OWN, *, x: float = 0.0) -> Part:
    """A cylinder that stands."""
    return roll((x, 0, low), (x, 0, high), radius, paint)


def chain(points: Sequence[Point], radii: Sequence[float], paint: Color = OWN) -> list[Part]:
    """Rods from point to point; a radius for each."""
    return [rod(a, b, r, paint) for a, b, r in zip(points[:-1], points[1:], radii)]


def ring(
    at: Point, radius: float, thick: float, paint: Color = OWN, *, plane: str = "xy", pieces: int = 8,
    turns: tuple[float, float] = (0.0, 1.0),
) -> list[Part]:  # fmt: skip
    """A ring, or an arc between two shares of a turn, of rods. plane: of its circle, "xy" or "xz"."""
    angles = 2 * np.pi * np.linspace(*turns, pieces + 1)
    points = []
    for angle in angles:
        along, across = radius * float(np.cos(angle)), radius * float(np.sin(angle))
        offset = (along, across, 0.0) if plane == "xy" else (along, 0.0, across)
        points.append((at[0] + offset[0], at[1] + offset[1], at[2] + offset[2]))
    return chain(points, [thick] * pieces, paint)


def mesh(file: str, at: Point, paint: Color = OWN, *, tilt_rad: float = 0.0, about: str = "x") -> Part:
    """A mesh in its own size, see `shrunk`."""
    part = _part(mujoco.mjtGeom.mjGEOM_MESH, (1.0, 1.0, 1.0), at, _turned(about, tilt_rad), paint)
    return replace(part, mesh=file)


def shrunk(
    factor: float, middle: Point, *parts: Part, tilt_rad: float = 0.0, about: str = "z"
) -> tuple[Part, ...]:
    """Parts about `middle`, which becomes the origin, turned about an axis through it and made smaller."""
    turn, made = _turned(about, tilt_rad), []
    for part in parts:
        pos, quat = np.zeros(3), np.zeros(4)
        mujoco.mju_rotVecQuat(pos, factor * np.subtract(part.pos, middle), turn)
        mujoco.mju_mulQuat(quat, turn, np.array(part.quat))
        x, y, z = (float(v) for v in pos)
        a, b, c = (factor * length for length in part.size)
        qw, qx, qy, qz = (float(v) for v in quat)
        made.append(replace(part, size=(a, b, c), pos=(x, y, z), quat=(qw, qx, qy, qz)))
    return tuple(made)


def _part(type: mujoco.mjtGeom, size: Point, at: Point, quat: np.ndarray, paint: Color) -> Part:
    w, x, y, z = (float(v) for v in quat)
    return Part(type, size, at, (w, x, y, z), paint if isinstance(paint, Paint) else Paint(rgb=paint))


def _along(type: mujoco.mjtGeom, start: Point, end: Point, radius: float, paint: Color) -> Part:
    way = np.subtract(end, start)
    quat = np.zeros(4)
    mujoco.mju_quatZ2Vec(quat, way)
    x, y, z = (float(v) for v in np.add(start, end) / 2)
    return _part(type, (radius, float(np.linalg.norm(way)) / 2, 0.0), (x, y, z), quat, paint)


def _turned(about: str, angle_rad: float) -> np.ndarray:
    quat = np.zeros(4)
    axis = np.array([about == name for name in "xyz"], float)
    mujoco.mju_axisAngle2Quat(quat, axis, angle_rad)
    return quat
