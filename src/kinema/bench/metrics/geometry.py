"""Pinhole cameras: from points in pictures to rays, and from two rays to a place.

A camera looks along its own -z, x to the right and y up, as in MuJoCo and in the cards; pictures are square.
u runs right and v down, both in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_quat


@dataclass(frozen=True, kw_only=True)
class Pinhole:
    """position_m (3,); rotation (3, 3), whose columns are the camera's axes in the world; fovy_rad."""

    position_m: np.ndarray
    rotation: np.ndarray
    fovy_rad: float

    def directions(self, uv: np.ndarray) -> np.ndarray:
        """Unit vectors (..., 3) in the world through points (..., 2) of the picture."""
        half = np.tan(self.fovy_rad / 2)
        u, v = np.asarray(uv, np.float64)[..., 0], np.asarray(uv, np.float64)[..., 1]
        local = np.stack([(2 * u - 1) * half, (1 - 2 * v) * half, -np.ones_like(u)], -1)
        world = local @ self.rotation.T
        return world / np.linalg.norm(world, axis=-1, keepdims=True)

    def at_height(self, uv: np.ndarray, z_m: float | np.ndarray) -> np.ndarray:
        """Where the rays through points (..., 2) reach a height: (..., 3); NaN where they never do."""
        direction = self.directions(uv)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (z_m - self.position_m[2]) / direction[..., 2]
        distance = np.where(distance > 0, distance, np.nan)
        return self.position_m + distance[..., None] * direction

    def height_over(self, uv: np.ndarray, xy_m: np.ndarray) -> float:
        """The height at which the ray through one point (2,) passes nearest to the vertical over xy."""
        foot = np.array([*xy_m[:2], 0.0])
        ray = closest_points(self.position_m, self.directions(uv), foot, np.array([0.0, 0.0, 1.0]))
        return float(ray[1][2])

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """World points (..., 3) before the camera to u, v (..., 2)."""
        local = (points_m - self.position_m) @ self.rotation
        half = np.tan(self.fovy_rad / 2)
        scaled = local[..., :2] / (-local[..., 2:] * half)
        return np.stack([0.5 + 0.5 * scaled[..., 0], 0.5 - 0.5 * scaled[..., 1]], -1)


def closest_points(
    origin: np.ndarray, direction: np.ndarray, other_origin: np.ndarray, other_direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The points of two lines that are nearest to each other, (3,) each; directions are unit vectors."""
    along = float(direction @ other_direction)
    between = other_origin - origin
    slack = 1.0 - along**2
    if slack < 1e-12:  # parallel: any pair will do
        return origin, other_origin - other_direction * float(between @ other_direction)
    t = float(between @ (direction - along * other_direction)) / slack
    s = float(between @ (along * direction - other_direction)) / slack
    return origin + t * direction, other_origin + s * other_direction


def triangulate(
    first: Pinhole, uv: np.ndarray, second: Pinhole, other_uv: np.ndarray
) -> tuple[np.ndarray, float]:
    """The place (3,) midway between the two rays, and the distance of the rays [m]."""
    a, b = closest_points(
        first.position_m, first.directions(uv), second.position_m, second.directions(other_uv)
    )
    return (a + b) / 2, float(np.linalg.norm(a - b))


def fixed_camera(card: EmbodimentCard) -> tuple[str, Pinhole]:
    """The card's first camera that stands in the world. Raises KinemaError when every camera moves."""
    for camera in card.cameras:
        if camera.mount == "world":
            rotation = matrix_from_quat(np.array(camera.quat_wxyz))
            position = np.array(camera.pos_m, np.float64)
            return camera.name, Pinhole(position_m=position, rotation=rotation, fovy_rad=camera.fovy_rad)
    raise KinemaError(f"{card.name} has no camera that stands still: a film of it cannot be judged in metres")
