"""How kinds of things and tables look in Meta-World: its meshes and photographs, from the installed package.

Another drawing of a kind that has primitives too, posed as in Meta-World's scenes; the solid that is felt is
the same. Where the package is not installed the primitives are drawn, and tables without a pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import pi
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image

from kinema.worlds.body.meshes import (
    add_mesh,
    installed_file,
    is_installed,
    triangles_m,
    version_told,
)
from kinema.worlds.tabletop.things.shape import (
    DARK,
    PALE,
    STEEL,
    WOOD,
    Paint,
    Part,
    ball,
    mesh,
    roll,
    shrunk,
)
from kinema.worlds.tabletop.things.textures import add_texture

PACKAGE, FOLDER = "metaworld", "metaworld/assets"
# A compiled mesh cannot be scaled, so each is there in several sizes, times the usual: 6 % apart, and so that
# the held-out ones share none with training's.
SIZES = 0.91 * 1.06 ** np.arange(-7.0, 4.0)

_METAL, _WOOD, _DEEP = Paint(STEEL), Paint(WOOD, texture="grain"), Paint(shade=0.55)
_GOLD = (0.65, 0.51, 0.24)

# Of tables: photographs, in grey, so that a table's hue is its own.
SURFACES: Mapping[str, str] = {
    "wood": "wood2", "planks": "wood_light", "granite": "granite", "plaster": "plaster1", "marble": "marble",
    "bricks": "brick1",
}  # fmt: skip
_SURFACE_PX, _ON_TABLE = 256, 3  # of a side; times along and across the table

DRAWINGS: Mapping[str, tuple[Part, ...]] = {
    "mug": shrunk(
        0.80,
        (0, 0, 0),
        mesh("coffeemachine/mug", (0, 0, 0)),
        mesh("coffeemachine/handle", (0.039, 0, 0.013), tilt_rad=pi / 2),
    ),
    "hammer": shrunk(
        0.30,
        (0.02, 0, 0),
        mesh("hammer/hammerhandle", (0, 0, 0), tilt_rad=pi / 2, about="y"),
        mesh("hammer/hammerhead", (0.16, 0, 0), _METAL),
    ),
    "wrench": shrunk(
        0.40,
        (0, -0.05, 0),
        mesh("assembly_peg/assembly_peg_ring", (0, 0, 0), _METAL),
        roll((0, -0.15, 0), (0, -0.05, 0), 0.012, _METAL),
        mesh("assembly_peg/assembly_peg_handle", (0, -0.13, 0)),
        tilt_rad=pi / 2,
    ),
    "soccer ball": shrunk(
        0.85, (0, 0, 0), mesh("soccer/soccer_white", (0, 0, 0)), mesh("soccer/soccer_black", (0, 0, 0), DARK)
    ),
    "basketball": shrunk(
        0.72,
        (0, 0, 0),
        mesh("basketball/basketballouter", (0, 0, 0)),
        mesh("basketball/basketballinner", (0, 0, 0), DARK),
    ),
    "hockey puck": shrunk(0.45, (0, 0, 0), mesh("puck/puck", (0, 0, 0))),
    "golf club": shrunk(
        0.55,
        (0, 0, 0),
        *shrunk(
            1.0,
            (-0.005, 0, 0.08),
            mesh("golf_club/club_handle", (-0.005, 0, 0.092), _WOOD),
            mesh("golf_club/club_head", (-0.08, 0, 0), DARK),
            mesh("golf_club/club_tape", (-0.005, 0, 0.092)),
            tilt_rad=-pi / 2,
            about="y",
        ),
        tilt_rad=pi / 2,
        about="x",
    ),
    "thermos": shrunk(
        0.24,
        (0, 0, 0.165),
        mesh("thermos/therm_base", (0, 0, 0.02), _METAL),
        mesh("thermos/therm_body", (0, 0, 0.14)),
        mesh("thermos/therm_cap", (0, 0, 0.285), _METAL),
        mesh("thermos/therm_handle", (0, -0.135, 0.132), _METAL),
        mesh("thermos/therm_trim", (0, 0, 0.285), _METAL),
        tilt_rad=pi / 2,
    ),
    "plug": shrunk(
        0.34,
        (0.015, 0, 0),
        mesh("plug/plug", (-0.04, 0.015, 0), _GOLD),
        roll((-0.058, 0, 0), (0.032, 0, 0), 0.007, DARK),
        ball((0.06, 0, 0), 0.04),
        roll((-0.01, 0, 0), (0.06, 0, 0), 0.04),
    ),
    "laptop": shrunk(
        0.115,
        (0, 0, 0.078),
        mesh("laptop/laptop_base", (0, 0, 0.015)),
        mesh("laptop/laptop_keys", (0, 0, 0.015), DARK),
        mesh("laptop/laptop_screen", (0, 0.161, 0.181), (0.30, 0.45, 0.62)),
        mesh("laptop/laptop_top", (0, 0.161, 0.181)),
        tilt_rad=-pi / 2,
    ),
    "coffee machine": shrunk(
        0.13,
        (0, -0.04, 0.185),
        mesh("coffeemachine/body1", (0, 0, 0.115)),
        mesh("coffeemachine/body2", (0, -0.042, 0.3)),
        mesh("coffeemachine/spout", (0, -0.141, 0.155), DARK),
        mesh("coffeemachine/buttonring", (0, -0.183, 0.3), DARK, tilt_rad=pi / 2),
        mesh("coffeemachine/bodypiece1", (0, 0, 0.115), DARK),
        roll((0, -0.22, 0.3), (0, -0.16, 0.3), 0.032, PALE),
        tilt_rad=-pi / 2,
    ),
}


def add_drawings(spec: mujoco.MjSpec) -> None:
    """Add every mesh in every size, and a material `table/...` for every surface.

    Raises KinemaError for a file that is refused.
    """
    if not is_installed(PACKAGE):
        for name in SURFACES:
            spec.add_material(name=f"table/{name}")
        return
    for name, file in SURFACES.items():
        pattern = _grey(installed_file(PACKAGE, f"{FOLDER}/textures/{file}.png"))
        material = add_texture(spec, f"table/{name}", pattern, mujoco.mjtTexture.mjTEXTURE_2D)
        material.texrepeat = [_ON_TABLE, _ON_TABLE]
    for part in {(p.mesh, p.size): p for drawing in DRAWINGS.values() for p in drawing if p.mesh}.values():
        triangles = triangles_m(PACKAGE, f"{FOLDER}/objects/meshes/{part.mesh}.stl")
        for size in SIZES:
            add_mesh(spec, _name(part, size), size * part.size[0] * triangles)


def told() -> dict[str, str]:
    """By what the wide look is drawn here, for a result's rendering settings."""
    return {"meshes": version_told(PACKAGE)}


def _grey(path: Path) -> np.ndarray:
    """A picture (S, S) in [0, 1], as bright as a pattern is through which a colour is to be seen."""
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L").resize((_SURFACE_PX, _SURFACE_PX)), float)
    return np.clip(0.85 * grey / grey.mean(), 0.0, 1.0)


def are_drawn(model: mujoco.MjModel) -> bool:
    """Whether the model was compiled with the meshes."""
    first = next(part for drawing in DRAWINGS.values() for part in drawing if part.mesh)
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_MESH, _name(first, SIZES[0])) >= 0


def nearest_size(scale: float) -> float:
    return float(SIZES[np.abs(np.log(SIZES / scale)).argmin()])


def wear(model: mujoco.MjModel, geom: int, part: Part, size: float) -> None:
    """Make a geom show a part's mesh; size: one of `SIZES`."""
    mesh = model.mesh(_name(part, size)).id
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    model.geom_dataid[geom] = mesh
    model.geom_size[geom] = np.abs(model.mesh_vert[first : first + count]).max(0)
    model.geom_rbound[geom] = np.linalg.norm(model.geom_size[geom])
    # MuJoCo keeps a mesh about its own middle and axes.
    pos, quat = np.zeros(3), np.zeros(4)
    mujoco.mju_mulPose(
        pos, quat, size * np.array(part.pos), np.array(part.quat), model.mesh_pos[mesh], model.mesh_quat[mesh]
    )
    model.geom_pos[geom], model.geom_quat[geom] = pos, quat


def _name(part: Part, size: float) -> str:
    return f"{part.mesh} x {part.size[0]:g} x {size:.3f}"
