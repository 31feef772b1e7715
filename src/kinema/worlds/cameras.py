"""What cameras of a MuJoCo model see: pictures, distances, outlines, and where points of the world fall.

Axes: V cameras, N points, S pixels of a side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

# Geom groups: primitives of links that have meshes, and those meshes. Who asks for no meshes sees the first.
STAND_INS, MESHES = 1, 3


@dataclass(frozen=True, kw_only=True)
class Effects:
    """What is drawn beyond surfaces and light. None keeps what the model says.

    shadow_px: of the shadow map, 0 for none; shadow_m: how far from a lamp's axis it reaches
    samples:   of a pixel
    meshes:    whether links are drawn by theirs, where the model has them
    """

    flags: Mapping[str, bool]  # of mjtRndFlag, by their names in small letters
    shadow_px: int | None = None
    shadow_m: float | None = None
    samples: int | None = None
    meshes: bool = False


# Shadows, reflections and the sky box cost more than everything else in software OpenGL.
PLAIN = Effects(flags={"shadow": False, "reflection": False, "skybox": False})
# For films and pages: soft edges, shadows and meshes.
FILM = Effects(
    flags={"shadow": True, "reflection": False, "skybox": False},
    shadow_px=2048,
    shadow_m=1.2,
    samples=4,
    meshes=True,
)


class Cameras:
    """Some cameras of one model, in one order.

    The graphics context is made when a first picture is asked for and freed by `close`. Not thread safe.
    """

    def __init__(
        self, model: mujoco.MjModel, names: Sequence[str], size_px: int, effects: Effects = PLAIN
    ) -> None:
        """size_px: S."""
        self.ids = tuple(int(model.camera(name).id) for name in names)
        self._model, self._size_px = model, size_px
        self._effects = effects
        self._flags = {
            getattr(mujoco.mjtRndFlag, f"mjRND_{name.upper()}"): on for name, on in effects.flags.items()
        }
        self._option = mujoco.MjvOption()
        if effects.meshes and MESHES in model.geom_group:
            self._option.geomgroup[[STAND_INS, MESHES]] = 0, 1
        self._renderer: mujoco.Renderer | None = None

    def pictures(self, data: mujoco.MjData) -> list[np.ndarray]:
        """uint8 (S, S, 3) of each camera."""
        return self._shots(self._ready(), data)

    def depths(self, data: mujoco.MjData) -> list[np.ndarray]:
        """Distance from each camera's plane, float32 (S, S) [m]."""
        renderer = self._ready()
        renderer.enable_depth_rendering()
        shots = self._shots(renderer, data)
        renderer.disable_depth_rendering()
        return shots

    def outlines(self, data: mujoco.MjData) -> list[np.ndarray]:
        """What each pixel shows, int32 (S, S, 2): number and kind (mjtObj), -1 for nothing."""
        renderer = self._ready()
        renderer.enable_segmentation_rendering()
        shots = self._shots(renderer, data)
        renderer.disable_segmentation_rendering()
        return shots

    def project(self, data: mujoco.MjData, points_m: np.ndarray) -> np.ndarray:
        """World points (N, 3) in every camera: float32 (V, N, 3), as `project` says."""
        views = [project(self._model, data, camera, points_m) for camera in self.ids]
        return np.stack(views).astype(np.float32)

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _ready(self) -> mujoco.Renderer:
        if self._renderer is None:
            self._renderer = self._context()
        return self._renderer

    def _context(self) -> mujoco.Renderer:
        """The graphics context takes its quality from the model, once; others of this model keep theirs."""
        quality, effects, map = self._model.vis.quality, self._effects, self._model.vis.map
        kept = quality.shadowsize, quality.offsamples, map.shadowclip
        if effects.shadow_px is not None:
            quality.shadowsize = effects.shadow_px
            self._model.light_castshadow[:] = effects.shadow_px > 0
        if effects.shadow_m is not None:
            map.shadowclip = effects.shadow_m / self._model.stat.extent
        if effects.samples is not None:
            quality.offsamples = effects.samples
        frame = self._model.vis.global_
        frame.offwidth, frame.offheight = (max(self._size_px, px) for px in (frame.offwidth, frame.offheight))
        renderer = mujoco.Renderer(self._model, self._size_px, self._size_px)
        quality.shadowsize, quality.offsamples, map.shadowclip = kept
        return renderer

    def _shots(self, renderer: mujoco.Renderer, data: mujoco.MjData) -> list[np.ndarray]:
        shots = []
        for camera in self.ids:
            renderer.update_scene(data, camera, self._option)
            for flag, on in self._flags.items():
                renderer.scene.flags[flag] = on
            shots.append(renderer.render().copy())
        return shots


def project(model: mujoco.MjModel, data: mujoco.MjData, camera: int, points_m: np.ndarray) -> np.ndarray:
    """World points (N, 3) to (N, 3): column and row as fractions of a square image, and 1 when inside it."""
    return seen_from(
        data.cam_xpos[camera],
        data.cam_xmat[camera].reshape(3, 3),
        float(np.radians(model.cam_fovy[camera])),
        points_m,
    )


def seen_from(
    position_m: np.ndarray,
    R_world_camera: np.ndarray,
    fovy_rad: float,
    points_m: np.ndarray,
    aspect: float = 1.0,
) -> np.ndarray:
    """The same for a camera that stands at a world position (3,) and looks along its own -z.

    aspect: the picture's width in heights
    """
    local = (points_m - position_m) @ R_world_camera
    depth = -local[:, 2]
    half = np.tan(fovy_rad / 2)
    safe = np.where(depth > 1e-3, depth, 1e-3)
    u = 0.5 + 0.5 * local[:, 0] / (safe * half * aspect)
    v = 0.5 - 0.5 * local[:, 1] / (safe * half)
    visible = (depth > 1e-3) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
    return np.where(visible[:, None], np.stack([u, v, np.ones_like(u)], -1), 0.0)
