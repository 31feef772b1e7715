"""Where two fingers can take a thing: found in its shape and in what stands around it, not in its name.

Every side of every box of the thing that is no wider than the open jaws is tried, in its middle and near its
ends, with the tool straight down and leaning, and the cheapest that touches nothing on the way in is taken.
World positions [m].
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kinema.bench.libero.arm import UP, Arm, Grip
from kinema.bench.libero.solids import Boxes
from kinema.space.rotation import matrix_from_rotvec

# The open gripper in the tool's frame (x across the fingers, y along the jaws, z ahead), as robosuite has it:
# the middles and half sizes of its hand and its fingers.
_MIDDLES_M = np.array([[0, 0, -0.075], [0, -0.05, -0.018], [0, 0.05, -0.018]])
_HALVES_M = np.array([[0.032, 0.104, 0.049], [0.011, 0.012, 0.031], [0.011, 0.012, 0.031]])
_TIP_M = 0.013  # of the finger tips ahead of the tool
_PADS_M = (0.008, -0.012, 0.012)  # how far they reach: across, and ahead from and to
_WIDEST_M = 0.068  # between the fingers
_DEPTHS_M = (0.03, 0.02, 0.012)  # of the tips below the top of what is between them
# how far across and ahead the pads lie on a side that does not slip, and how flat it is there
_SAFE_M, _FLAT_M = np.array([0.008, 0.012]), 0.003
# of the hand from upright: across its jaws, and along them
_LEANS_RAD = np.radians([(0, 0), (-20, 0), (20, 0), (-40, 0), (40, 0), (0, -20), (0, 20), (0, -40), (0, 40)])
_LONG_M = 0.025  # half the length of a box that is taken elsewhere than in its middle, too
_MARGINS_M = (0.005, 0.003)  # around everything
_WAY_M = (0.0, 0.03, 0.07)  # back from the grasp, where nothing may be touched either
_FINE_M, _COARSE_M = 0.004, 0.01
_UPRIGHT = np.eye(3)
_SURFACE = Boxes(_MIDDLES_M, _HALVES_M, np.stack([np.eye(3)] * 3)).surface(_COARSE_M)


def gripper_at(grip: Grip) -> np.ndarray:
    """World points (P, 3) all over the open gripper."""
    return np.asarray(_SURFACE @ grip.rotation.T + grip.position_m)


def touches(grip: Grip, points: np.ndarray, margin_m: float) -> bool:
    """Whether the open gripper there has any of the points (P, 3) in it, or nearer than the margin."""
    rotation = grip.rotation
    level = np.abs((points - grip.position_m) @ rotation[:, 0]) < _HALVES_M[:, 0].max() + margin_m
    local = (points[level] - grip.position_m) @ rotation
    return bool((np.abs(local[:, None] - _MIDDLES_M) < _HALVES_M + margin_m).all(-1).any())


def grasps(arm: Arm, thing: Boxes, around: Boxes, tilt: np.ndarray = _UPRIGHT) -> Iterator[Grip]:
    """The cheapest first; those that touch nothing, first with a wide margin and then with a narrow one.

    tilt: the rotation (3, 3) that the thing, and the hand with it, is to make before it is let go
    """
    own, others = thing.surface(_FINE_M), around.surface_near(thing.middle_m, 0.3, _COARSE_M)
    ranked = sorted(_candidates(arm, thing, tilt), key=lambda candidate: candidate[0])
    for margin_m in _MARGINS_M:
        for _, grip in ranked:
            if not touches(grip, own, 0.001) and not any(
                touches(grip.back(back_m), others, margin_m) for back_m in _WAY_M
            ):
                yield grip


def _candidates(arm: Arm, thing: Boxes, tilt: np.ndarray) -> Iterator[tuple[float, Grip]]:
    """With their costs: far from the thing's middle, leaning, and turned far from how the tool is."""
    points = thing.surface(_FINE_M)
    for center, level in _pinched(thing):
        for across_rad, along_rad in _LEANS_RAD:
            lean = matrix_from_rotvec(along_rad * np.cross(UP, level) - across_rad * level)
            grip = arm.spared(Grip(center, -lean @ UP, lean @ level))
            local = (points - center) @ grip.rotation
            between = (np.abs(local[:, 0]) < _PADS_M[0]) & (np.abs(local[:, 1]) < 0.038)
            if not between.any():
                continue
            for depth_m in _DEPTHS_M:
                tool = local[between, 2].min() + depth_m - _TIP_M
                held = local[between & (np.abs(local[:, 2] - tool) < _PADS_M[2])]
                if not len(held) or np.ptp(held[:, 1]) > _WIDEST_M:
                    continue
                shift = np.array([0.0, (held[:, 1].min() + held[:, 1].max()) / 2, tool])
                found = grip.shifted(grip.rotation @ shift)
                slips_m = np.maximum(0.0, _SAFE_M - _touched_m(held)).sum()
                yield _cost(arm, found, thing, depth_m, tilt) + 20 * slips_m, found


def _touched_m(held: np.ndarray) -> np.ndarray:
    """How far across and ahead the pads lie on what they hold, on the side where they do so less.

    A rim that is taken along its curve is touched by their edges only.
    """
    sides = (held[:, 1] < held[:, 1].min() + _FLAT_M, held[:, 1] > held[:, 1].max() - _FLAT_M)
    return np.min([np.ptp(held[side][:, [0, 2]], axis=0) for side in sides], axis=0)


def _pinched(thing: Boxes) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Points along the middles of boxes, and level directions in which the boxes are narrow there."""
    for center, half, rotation in zip(thing.centers, thing.halves, thing.rotations, strict=True):
        for axis in range(3):
            level = rotation[:, axis] * [1, 1, 0]
            if half[axis] < _WIDEST_M / 2 and np.linalg.norm(level) > 0.7:
                level /= np.linalg.norm(level)
                for offset_m in _along(half, rotation, level):
                    yield center + offset_m, level


def _along(half: np.ndarray, rotation: np.ndarray, level: np.ndarray) -> Iterator[np.ndarray]:
    """To the middle of a box, and to near its ends where it is long across the jaws."""
    yield np.zeros(3)
    for axis in range(3):
        side = rotation[:, axis]
        if half[axis] > _LONG_M and abs(side @ np.cross(UP, level)) > 0.7:
            for sign in (1, -1):
                yield sign * (half[axis] - _LONG_M / 2) * side


def _cost(arm: Arm, grip: Grip, thing: Boxes, depth_m: float, tilt: np.ndarray) -> float:
    off_m = np.linalg.norm((grip.position_m - thing.middle_m)[:2])
    leans_rad = _leans_rad(grip.approach)
    more_rad = _leans_rad(tilt @ grip.approach) - leans_rad
    turns_rad = np.linalg.norm(arm.turn_rad(grip))
    return float(
        2 * off_m
        + 0.3 * leans_rad
        + 0.6 * max(0.0, more_rad)
        + 0.1 * turns_rad
        + 8 * (_DEPTHS_M[0] - depth_m)
    )


def _leans_rad(approach: np.ndarray) -> float:
    return float(np.arccos(np.clip(-approach @ UP, -1, 1)))
