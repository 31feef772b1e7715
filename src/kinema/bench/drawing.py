"""Pictures with fewer triangles, of any benchmark that MuJoCo draws.

The meshes of a scene have more triangles than its pictures have pixels, and without a graphics card each one
is paid for, in a shadow map a second time. What is drawn from is replaced by a copy of the model whose meshes
are simplified (M. Garland, P. Heckbert, Surface Simplification Using Quadric Error Metrics, 1997, by
`meshoptimizer`); the simulated model is never touched.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.schema import KinemaError

_FEWEST = 4  # triangles of a mesh
_DIGITS = 5  # texture coordinates that agree so far are one


@dataclass(frozen=True, kw_only=True)
class Lighter:
    """How pictures are made cheaper than a package's.

    mesh_error_m: how far meshes may lie from the shipped ones
    shadow_px:    side of the shadow map, where a light casts shadows
    samples:      of a pixel; 0 leaves edges jagged
    """

    mesh_error_m: float = 0.001
    shadow_px: int = 1024
    samples: int = 4
    reflections: bool = True


LOOKS = {"shipped": None, "reduced": Lighter(), "plain": Lighter(samples=0, reflections=False)}


def lightened(model: Any, lighter: Lighter) -> Any:
    """A copy of a `mujoco.MjModel` to make a rendering context from; reflections are left to the scene."""
    drawn = copy.copy(model)
    drawn.vis.quality.offsamples = lighter.samples
    drawn.vis.quality.shadowsize = lighter.shadow_px
    for mesh in range(drawn.nmesh):
        _simplify(drawn, mesh, lighter.mesh_error_m)
    return drawn


def _simplify(model: Any, mesh: int, error_m: float) -> None:
    """Replace a mesh's triangles by fewer between its own vertices."""
    try:
        import meshoptimizer
    except ImportError:
        raise KinemaError(
            "meshoptimizer is not installed, which draws fewer triangles; install it with: "
            "pip install meshoptimizer==0.2.30a0"
        ) from None
    begin, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    faces = slice(begin, begin + count)
    vertex, normal, texture = (
        array[faces].ravel() for array in (model.mesh_face, model.mesh_facenormal, model.mesh_facetexcoord)
    )
    points = _of_mesh(model.mesh_vert, model.mesh_vertadr, model.mesh_vertnum, mesh)
    normals = _of_mesh(model.mesh_normal, model.mesh_normaladr, model.mesh_normalnum, mesh)
    # Triangles are joined where they share a place and a place on the texture, whatever their numbers.
    joined = points[vertex]
    if model.mesh_texcoordadr[mesh] >= 0:
        places = _of_mesh(model.mesh_texcoord, model.mesh_texcoordadr, model.mesh_texcoordnum, mesh)
        joined = np.hstack([joined, places.round(_DIGITS)[texture]])
    _, first, which = np.unique(joined, axis=0, return_index=True, return_inverse=True)
    which = which.ravel().astype(np.uint32)
    at = np.ascontiguousarray(points[vertex[first]], np.float32)
    kept = np.zeros(3 * count, np.uint32)
    number = meshoptimizer.simplify(
        kept, which, at, target_index_count=3 * _FEWEST, target_error=error_m,
        options=meshoptimizer.SIMPLIFY_ERROR_ABSOLUTE | meshoptimizer.SIMPLIFY_PRUNE,
    )  # fmt: skip
    kept = kept[:number]
    corner = _best_lit(kept, which, at, normals[normal])
    left = slice(begin, begin + number // 3)
    for array, values in (
        (model.mesh_face, vertex),
        (model.mesh_facenormal, normal),
        (model.mesh_facetexcoord, texture),
    ):
        array[left] = values[corner].reshape(-1, 3)
    model.mesh_facenum[mesh] = number // 3


def _of_mesh(array: np.ndarray, address: np.ndarray, number: np.ndarray, mesh: int) -> np.ndarray:
    return array[address[mesh] : address[mesh] + number[mesh]]


def _best_lit(kept: np.ndarray, which: np.ndarray, at: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """For every corner of the new triangles, the old corner at its vertex whose normal is nearest to theirs.

    kept (3 F') and which (3 F): vertices by corner, new and old; at (V, 3): where those are;
    normals (3 F, 3) by old corner
    """
    triangles = at[kept].reshape(-1, 3, 3)
    facing = np.repeat(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), 3, 0)
    by_vertex = np.argsort(which, kind="stable")
    number = np.bincount(which, minlength=len(at))
    first = np.cumsum(number) - number
    choices = number[kept]
    begins = np.cumsum(choices) - choices
    of = np.repeat(np.arange(len(kept)), choices)  # the new corner that a candidate is for
    candidates = by_vertex[first[kept][of] + np.arange(len(of)) - begins[of]]
    likeness = np.einsum("ij,ij->i", normals[candidates], facing[of])
    return candidates[np.lexsort((-likeness, of))[begins]]
