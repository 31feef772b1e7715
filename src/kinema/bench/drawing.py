"""Pictures of LIBERO with fewer triangles. Runs in LIBERO's own environment.

A scene's meshes have 300,000 triangles, more than its pictures have pixels, and without a graphics card each
triangle is paid for. What robosuite draws from is replaced by a copy of the model whose meshes are simplified
(M. Garland, P. Heckbert, Surface Simplification Using Quadric Error Metrics, 1997, by `meshoptimizer`); the
simulated model is never touched.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from kinema.schema import KinemaError

_FEWEST = 4  # triangles of a mesh
_DIGITS = 5  # texture coordinates that agree so far are one


def lighten(sim: Any, *, mesh_error_m: float, reflections: bool, samples: int) -> None:
    """From now on `sim` draws meshes that lie within `mesh_error_m` of the shipped ones.

    sim:     robosuite's `MjSim`, whose renderer exists
    samples: of a pixel; 0 leaves edges jagged
    """
    import mujoco

    context = sim._render_context_offscreen
    context.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = reflections
    drawn = copy.copy(sim.model._model)
    drawn.vis.quality.offsamples = samples
    for mesh in range(drawn.nmesh):
        _simplify(drawn, mesh, mesh_error_m)
    context.gl_ctx.make_current()
    context.con.free()
    context.con = mujoco.MjrContext(drawn, mujoco.mjtFontScale.mjFONTSCALE_150)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context.con)


def _simplify(model: Any, mesh: int, error_m: float) -> None:
    """Replace a mesh's triangles by fewer between its own vertices."""
    try:
        import meshoptimizer
    except ImportError:
        raise KinemaError("meshoptimizer is not installed in LIBERO's environment") from None
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
