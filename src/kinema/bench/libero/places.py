"""Where a thing that is held can be let go so that it ends up where a goal wants it.

The goal's own place is read from the simulator: a thing to stand on, or a region to be in. Turns and spots in
it are tried from the simplest on, and the first that needs no more than a small drop and in which neither the
thing nor the gripper touches anything is taken. World positions [m].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.bench.libero.arm import UP, Grip
from kinema.bench.libero.grasps import touches
from kinema.bench.libero.solids import Boxes
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

_ON_THING_M = 0.02  # of 0.03 that a thing may stand beside the middle of what it stands on
_WITHIN = 0.8  # of a region's half sizes
_SPOTS = 5  # along each side of a region
_TURNS_RAD = np.radians(np.arange(-90, 91, 15))
_MARGIN_M = 0.004
_STRIDE_M, _LEVEL_M = 0.02, 0.005  # between heights that are tried, far and near
_ABOVE_M = 0.2  # the region: where the way down begins
_COARSE_M = 0.012


@dataclass(frozen=True)
class Pose:
    """Of a body's own frame."""

    position_m: np.ndarray
    rotation: np.ndarray

    @classmethod
    def of(cls, env: Any, name: str) -> Pose:
        body = env.env.obj_body_id[name]
        data = env.sim.data
        return cls(np.array(data.body_xpos[body]), np.array(data.body_xmat[body]).reshape(3, 3))

    def carried(self, grip: Grip, to: Pose) -> Grip:
        """Where a grip ends up that is fixed to this pose when that one is reached."""
        turn = to.rotation @ self.rotation.T
        return Grip(
            turn @ (grip.position_m - self.position_m) + to.position_m, turn @ grip.approach, turn @ grip.jaws
        )


@dataclass(frozen=True)
class Region:
    """A box for the origin of what is put there: its middle, axes (3, 3), and extents along the axes."""

    middle_m: np.ndarray
    axes: np.ndarray
    low_m: np.ndarray
    high_m: np.ndarray

    @classmethod
    def of(cls, env: Any, where: str, inside: bool) -> Region:
        """As the package tests its predicates `in` (inside) and `on`."""
        if where not in env.env.object_sites_dict:
            side = np.array([_ON_THING_M, _ON_THING_M, 0.0])
            return cls(Pose.of(env, where).position_m, np.eye(3), -side, side + 0.2 * UP)
        half = np.asarray(env.env.object_sites_dict[where].size, np.float64)
        middle, axes = env.sim.data.get_site_xpos(where), env.sim.data.get_site_xmat(where).reshape(3, 3)
        if inside:
            half = np.abs(axes @ half)
            return cls(np.array(middle), np.eye(3), -_WITHIN * half - 0.01 * UP, _WITHIN * half)
        spread = _WITHIN * half * [1, 1, 0]
        return cls(
            np.array(middle), np.array(axes), -spread + (half[2] - 0.003) * UP, spread + (half[2] + 0.09) * UP
        )

    def holds(self, point: np.ndarray) -> bool:
        local = self.axes.T @ (point - self.middle_m)
        return bool((local >= self.low_m - 1e-9).all() and (local <= self.high_m + 1e-9).all())

    def spots(self) -> Iterator[tuple[float, np.ndarray]]:
        """Points in its middle plane, with how far off its middle they are."""
        lines = [np.linspace(self.low_m[a], self.high_m[a], _SPOTS) for a in (0, 1)]
        for x, y in np.stack(np.meshgrid(*lines), -1).reshape(-1, 2):
            yield float(np.hypot(x, y)), self.middle_m + self.axes @ np.array([x, y, 0.0])


def place(
    region: Region, grip: Grip, thing: Boxes, now: Pose, stood: np.ndarray, around: Boxes
) -> Pose | None:
    """The thing's pose to let go of it in, or none. thing: where it is now; stood: its rotation at first."""
    around = around.near(region.middle_m, 0.4)
    surface = around.surface_near(region.middle_m, 0.4, _COARSE_M)
    best, found = np.inf, None
    for cost, upright, spot in sorted(_tries(region, now, stood), key=lambda a: a[0]):
        if cost >= best:
            break
        if (dropped := _lowered(region, grip, thing, now, upright, spot, around, surface)) is None:
            continue
        badness, pose = dropped
        if cost + badness < best:
            best, found = cost + badness, pose
    return found


def _tries(region: Region, now: Pose, stood: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Costs, rotations of the thing, and spots in the region."""
    up = region.axes[:, 2] if region.axes[2, 2] > 0 else UP
    lean = _shortest(UP, up)
    tries = []
    for turn_rad in (*_TURNS_RAD, *_aligned(region, stood)):
        rotation = matrix_from_rotvec(turn_rad * up) @ lean @ stood
        turned_rad = float(np.linalg.norm(rotvec_from_matrix(rotation @ now.rotation.T)))
        tries += [(0.1 * turned_rad + 3 * off_m, rotation, spot) for off_m, spot in region.spots()]
    return tries


def _aligned(region: Region, stood: np.ndarray) -> list[float]:
    """Turns after which the thing's sides are along the region's."""
    level = stood[:, np.argmin(np.abs(stood[2]))]
    side = region.axes[:, 0]
    off_rad = np.arctan2(side[1], side[0]) - np.arctan2(level[1], level[0])
    return [float((off_rad + quarter * np.pi / 2 + np.pi) % (2 * np.pi) - np.pi) for quarter in range(4)]


def _shortest(from_: np.ndarray, to: np.ndarray) -> np.ndarray:
    axis, cosine = np.cross(from_, to), float(from_ @ to)
    sine = np.linalg.norm(axis)
    return matrix_from_rotvec(axis / max(sine, 1e-9) * np.arctan2(sine, cosine))


def _lowered(
    region: Region,
    grip: Grip,
    thing: Boxes,
    now: Pose,
    rotation: np.ndarray,
    spot: np.ndarray,
    around: Boxes,
    surface: np.ndarray,
) -> tuple[float, Pose] | None:
    """The lowest pose to let go of it in, and how bad it is to drop from there on and to stand high, as on
    something else; none where it does not get."""
    turn = rotation @ now.rotation.T
    points = (thing.surface(_COARSE_M) - now.position_m) @ turn.T
    hand = now.carried(grip, Pose(np.zeros(3), rotation))
    around = around.near(spot, _ABOVE_M + 0.05)
    lowest = released = None
    height_m, step_m = spot[2] + _ABOVE_M, _STRIDE_M
    while height_m > spot[2] - _ABOVE_M:
        position = np.array([spot[0], spot[1], height_m])
        if around.hold(points + position, _MARGIN_M):
            if step_m == _LEVEL_M:
                break
            height_m, step_m = height_m + _STRIDE_M, _LEVEL_M
        else:
            lowest = position
            if not touches(hand.shifted(position), surface, _MARGIN_M):
                released = position
        height_m -= step_m
    if lowest is None or released is None or not region.holds(lowest - _LEVEL_M * UP / 2):
        return None
    high_m = max(0.0, float((points + lowest)[:, 2].min() - spot[2]))
    return 2 * float(released[2] - lowest[2]) + 4 * high_m, Pose(released, rotation)
