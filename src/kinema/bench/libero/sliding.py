"""Push a flat round thing straight along the table into a region, between two open fingers.

World positions; in the table's plane they are (2,).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.bench.libero.arm import OPEN, UP, Arm, Grip, Skill, go, leave
from kinema.bench.libero.goals import reached
from kinema.bench.libero.solids import thing

_LEAN_RAD = 0.3  # of the hand, ahead of its fingers
_TOOL_M = 0.022  # above what the thing stands on
_FINGER_M = 0.045  # from the middle of the open gripper
_OFF_M, _BACK_M = 0.03, 0.1
_PASSED_M = 0.03
_LEAD_M = 0.02  # into the thing
_AHEAD_M = 0.06  # on its line, where it is to be pushed to at each moment
_ASIDE_M = 0.04  # this far beside where they should touch the fingers do not push
_LOST_M = 0.12
_PATIENCE_STEPS = 45
_PAST_M = 0.02  # the end of its line
_WITHIN = 0.25  # of a region's half sizes
_LENGTH_COST = 1.0  # a metre of way against a metre of shoving


def push_to(env: Any, arm: Arm, name: str, region: str) -> Skill:
    """One try."""
    start_m = Disc.of(env, name).middle_m
    line = _clear_end(env, name, region) - start_m
    length_m = float(np.linalg.norm(line))
    line = line / length_m

    def behind() -> Grip:
        """Touching the disc from where it is to be pushed back on its line."""
        disc = Disc.of(env, name)
        way = start_m + ((disc.middle_m - start_m) @ line + _AHEAD_M) * line - disc.middle_m
        way = np.append(way / np.linalg.norm(way), 0.0)
        at = np.append(disc.middle_m, disc.bottom_m + _TOOL_M)
        at -= np.sqrt(disc.radius_m**2 - _FINGER_M**2) * way
        approach = -np.sin(_LEAN_RAD) * way - np.cos(_LEAN_RAD) * UP
        return arm.spared(Grip(at, approach, np.cross(UP, way)))

    def pushing() -> Grip:
        """Into it, the less so the farther the fingers are from where they are to touch it."""
        touching = behind()
        way = np.cross(touching.jaws, UP) * np.sign(np.cross(touching.jaws, UP)[:2] @ line)
        off_m = abs(touching.jaws @ (touching.position_m - arm.tool_m))
        return touching.shifted(_LEAD_M * max(0.0, 1 - off_m / _ASIDE_M) * way)

    start = behind()
    start = start.shifted(-_OFF_M * np.append(line, 0.0))
    yield from go(arm, lambda: start.back(_BACK_M), OPEN, near_m=_PASSED_M)
    yield from go(arm, lambda: start, OPEN)
    for _ in range(_PATIENCE_STEPS):
        went_m = (Disc.of(env, name).middle_m - start_m) @ line
        lost = went_m > length_m + _PAST_M or not arm.near(behind(), _LOST_M, np.inf)
        if lost or reached(env, ("on", name, region)):
            break
        yield arm.towards(pushing(), OPEN)
    yield from leave(arm, _BACK_M, _PASSED_M)


@dataclass(frozen=True)
class Disc:
    """What a thing covers of the table."""

    middle_m: np.ndarray
    radius_m: float
    bottom_m: float

    @classmethod
    def of(cls, env: Any, name: str) -> Disc:
        corners = thing(env, name).corners
        low, high = corners.min(0), corners.max(0)
        return cls((low + high)[:2] / 2, float((high - low)[:2].max() / 2), float(low[2]))


def shoved_m(disc: Disc, end_m: np.ndarray, others: list[Disc]) -> float:
    """How far a straight way of the disc shoves others aside, all together."""
    path = np.linspace(disc.middle_m, end_m, 20)
    gaps_m = [np.linalg.norm(path - other.middle_m, axis=1).min() - other.radius_m for other in others]
    return float(sum(max(0.0, disc.radius_m - gap_m) for gap_m in gaps_m))


def _clear_end(env: Any, name: str, region: str) -> np.ndarray:
    """Where in the region the way is to end, so that it shoves little aside and is short."""
    disc = Disc.of(env, name)
    others = [Disc.of(env, other) for other in env.env.obj_body_id if other != name]
    middle, half = env.sim.data.get_site_xpos(region)[:2], env.env.object_sites_dict[region].size[:2]
    ends = middle + _WITHIN * np.array(half) * (np.indices((3, 3)).reshape(2, 9).T - 1)

    def cost(end_m: np.ndarray) -> float:
        return shoved_m(disc, end_m, others) + _LENGTH_COST * float(np.linalg.norm(end_m - disc.middle_m))

    return min(ends, key=cost)
