"""Which files of an installed package draw a body's links; whatever collides, weighs and moves is elsewhere.

A card never holds a mesh and never says where on a disk one lies: it names a package and a path inside it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kinema.card.values import QuatWxyz, Strict, Vec3

MOST_MESHES = 64  # of an arm

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # of a path: no dots before it, so that none leads upwards
Package = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=64)]
Folder = Annotated[str, Field(pattern=rf"^{_PART}(/{_PART})*$", max_length=200)]
File = Annotated[str, Field(pattern=rf"^{_PART}(/{_PART})*\.stl$", max_length=200)]


class Mesh(Strict):
    """A mesh fixed to a link, which is only seen. file: a binary STL in the arm's mesh folder."""

    file: File
    pos_m: Vec3 = (0.0, 0.0, 0.0)
    quat_wxyz: QuatWxyz = (1.0, 0.0, 0.0, 0.0)
    rgb: Vec3 = (0.8, 0.8, 0.82)


class MeshFolder(Strict):
    """A folder of a package, by the name that pip knows, with an arm's meshes. unit_m: of their lengths."""

    package: Package
    folder: Folder
    unit_m: float = Field(default=1.0, gt=0, le=1.0)
    source: str
