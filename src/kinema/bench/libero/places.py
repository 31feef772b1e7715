"""Where a thing that is held can be let go so that it ends up where a goal wants it.

The goal's own place is read from the simulator: a thing to stand on, or a region to be in. Turns and spots in
it are tried from the simplest on; of the first few where neither the thing nor the gripper touches anything,
that one is taken from which it drops least. World positions [m].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np

from kinema.bench.libero.arm import UP, Grip
from kinema.bench.libero.grasps import gripper_at
from kinema.bench.libero.solids import Boxes, thing
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

_ON_THING_M = 0.025  # of 0.03 that a thing may stand beside the middle of what it stands on
_WITHIN = 0.8  # of a region's half sizes to the sides, where spots are tried
_SPOTS = 5  # along each side of a region
_TURNS_RAD = np.radians(np.arange(-90, 91, 15))
_LEVEL = 0.99  # cosine of a slope that is none
_LEANS_RAD = tuple(np.radians([0, -5, 5]))
_ON_OTHERS_M = 0.045  # above a region, where a thing stands on something else in it
_ON_TOP_M = 0.01  # above the highest that a thing has, where another stands on something else on it
_COMPARED = 4  # of the places that fit, from the simplest on
_MARGIN_M = 0.004
_SEEN_M, _CELL_M = 0.35, 0.003  # to all sides of a region, and how finely
_COARSE_M = 0.008


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
    """A box for the origin of what is put there: its middle, axes (3, 3), and extents along the axes.

    rests_m: how high above the middle the lowest point of what is put there may be
    """

    middle_m: np.ndarray
    axes: np.ndarray
    low_m: np.ndarray
    high_m: np.ndarray
    rests_m: float = _ON_OTHERS_M

    @classmethod
    def of(cls, env: Any, where: str, inside: bool) -> Region:
        """As the package tests its predicates `in` (inside) and `on`."""
        if where not in env.env.object_sites_dict:
            side, middle = np.array([_ON_THING_M, _ON_THING_M, 0.0]), Pose.of(env, where).position_m
            top_m = float(thing(env, where).top_m - middle[2])
            return cls(middle, np.eye(3), -side, side + 0.2 * UP, top_m + _ON_TOP_M)
        half = np.asarray(env.env.object_sites_dict[where].size, np.float64)
        middle, axes = env.sim.data.get_site_xpos(where), env.sim.data.get_site_xmat(where).reshape(3, 3)
        if inside:
            half = np.abs(axes @ half)
            return cls(np.array(middle), np.eye(3), -half - 0.008 * UP, half - 0.002 * UP)
        spread = half * [1, 1, 0]
        return cls(
            np.array(middle),
            np.array(axes),
            -spread + (half[2] - 0.003) * UP,
            spread + (half[2] + 0.098) * UP,
        )

    @property
    def up(self) -> np.ndarray:
        """The way (3,) that what is put there is to point up."""
        return self.axes[:, 2] if self.axes[2, 2] > 0 else UP

    @property
    def tilt(self) -> np.ndarray:
        """The rotation (3, 3) of what is put there from how it stands on a level table."""
        return _shortest(UP, self.up)

    @property
    def leans_rad(self) -> tuple[float, ...]:
        """About its first axis: what a thing leans on has not quite the region's own slope."""
        return (0.0,) if self.up @ UP > _LEVEL else _LEANS_RAD

    def holds(self, point: np.ndarray) -> bool:
        local = self.axes.T @ (point - self.middle_m)
        return bool((local >= self.low_m - 1e-9).all() and (local <= self.high_m + 1e-9).all())

    def spots(self) -> Iterator[tuple[float, np.ndarray]]:
        """Points in its middle plane, with how far off its middle they are."""
        lines = [_WITHIN * np.linspace(self.low_m[a], self.high_m[a], _SPOTS) for a in (0, 1)]
        for x, y in np.stack(np.meshgrid(*lines), -1).reshape(-1, 2):
            yield float(np.hypot(x, y)), self.middle_m + self.axes @ np.array([x, y, 0.0])


def place(
    region: Region, grip: Grip, thing: Boxes, now: Pose, stood: np.ndarray, around: Boxes
) -> Pose | None:
    """The thing's pose to let go of it in, or none. thing: where it is now; stood: its rotation at first."""
    below = Heights.under(region.middle_m, around)
    points = (thing.surface(_COARSE_M) - now.position_m) @ now.rotation  # in the thing's own frame
    fitting = (
        (cost + 2 * fit[0], fit[1])
        for cost, rotation, spot in sorted(_tries(region, now, stood), key=lambda a: a[0])
        if (fit := _lowered(region, now.carried(grip, Pose(spot, rotation)), points, rotation, spot, below))
    )
    best = min(islice(fitting, _COMPARED), key=lambda a: a[0], default=None)
    return None if best is None else best[1]


@dataclass(frozen=True)
class Heights:
    """The top of what is there in the cells of a square, as somebody sees it who comes from above."""

    corner_m: np.ndarray
    tops_m: np.ndarray

    @classmethod
    def under(cls, middle_m: np.ndarray, around: Boxes) -> Heights:
        points = around.surface_near(middle_m, _SEEN_M, _CELL_M)
        corner = middle_m[:2] - _SEEN_M
        cells = ((points[:, :2] - corner) / _CELL_M).astype(int)
        size = int(2 * _SEEN_M / _CELL_M) + 1
        tops = np.full((size, size), -np.inf)
        np.maximum.at(tops, tuple(cells.T), points[:, 2])
        wide = np.pad(tops, 1, constant_values=-np.inf)  # a margin of one cell to all sides
        return cls(corner, np.lib.stride_tricks.sliding_window_view(wide, (3, 3)).max((2, 3)))

    def lift_m(self, points: np.ndarray) -> float:
        """How far the points (P, 3) must go up to touch nothing, or may go down."""
        cells = np.clip(((points[:, :2] - self.corner_m) / _CELL_M).astype(int), 0, len(self.tops_m) - 1)
        return float((self.tops_m[tuple(cells.T)] - points[:, 2]).max())


def _tries(region: Region, now: Pose, stood: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Costs, rotations of the thing, and spots in the region."""
    tries = []
    for lean_rad, turn_rad in product(region.leans_rad, (*_TURNS_RAD, *_aligned(region, stood))):
        tilt = matrix_from_rotvec(lean_rad * region.axes[:, 0]) @ region.tilt
        rotation = matrix_from_rotvec(turn_rad * region.up) @ tilt @ stood
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
    region: Region, grip: Grip, points: np.ndarray, rotation: np.ndarray, spot: np.ndarray, below: Heights
) -> tuple[float, Pose] | None:
    """How far it drops, and the lowest pose to let go of it in; none where it does not get.

    grip: with the thing at the spot; points: in the thing's own frame
    """
    standing = points @ rotation.T + spot
    lift_m = below.lift_m(standing)
    drop_m = max(0.0, below.lift_m(gripper_at(grip)) - lift_m)
    if not region.holds(spot + lift_m * UP):
        return None
    if standing[:, 2].min() + lift_m - spot[2] > region.rests_m:
        return None
    return drop_m, Pose(spot + (lift_m + drop_m + _MARGIN_M) * UP, rotation)
