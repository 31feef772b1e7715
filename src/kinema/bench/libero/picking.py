"""Take a thing from above and let go of it over what it belongs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.bench.libero.arm import CLOSED, OPEN, UP, Arm, Grip, Skill, close, go, let_go

_HOVER_M = 0.1  # of the tool above the thing
_CLEAR_M = 0.025  # of what is carried above the rim
_JAWS_M = 0.07  # of 0.08 that they open
_DEPTH_M = 0.03  # of the finger tips below the thing's top
_FLOOR_M = 0.01  # of them above what it stands on


def put(env: Any, arm: Arm, name: str, where: str) -> Skill:
    """One try: it ends with open fingers, whether the thing is there or slipped."""
    thing = Shape.of(env, name)
    grasp = arm.spared(_grasp(thing))
    yield from go(arm, lambda: grasp.back(_HOVER_M), OPEN)
    yield from go(arm, lambda: grasp, OPEN)
    yield from close(arm, lambda: grasp)
    thing, basket = Shape.of(env, name), Shape.of(env, env.env.object_sites_dict[where].parent_name)
    over = np.array([*basket.middle_m[:2], basket.top_m + _CLEAR_M + arm.tool_m[2] - thing.bottom_m])
    lifted = grasp.at(np.array([*arm.tool_m[:2], over[2]]))
    yield from go(arm, lambda: lifted, CLOSED)
    yield from go(arm, lambda: grasp.at(over), CLOSED)
    yield from let_go(arm)


@dataclass
class Shape:
    """World positions (N, 3) of a body's corners."""

    points: np.ndarray

    @property
    def top_m(self) -> float:
        return float(self.points[:, 2].max())

    @property
    def bottom_m(self) -> float:
        return float(self.points[:, 2].min())

    @property
    def middle_m(self) -> np.ndarray:
        return np.asarray((self.points.min(0) + self.points.max(0)) / 2)

    def width_m(self, turn_rad: float) -> float:
        """Along the jaws of a gripper that has turned so far from its home."""
        return float(np.ptp(self.points[:, :2] @ [-np.sin(turn_rad), np.cos(turn_rad)]))

    @classmethod
    def of(cls, env: Any, name: str) -> Shape:
        """The corners of the geoms that a thing collides with."""
        model, data = env.sim.model, env.sim.data
        found = []
        for geom in env.env.get_object(name).contact_geoms:
            g = model.geom_name2id(geom)
            center, half = model.geom_aabb[g][:3], model.geom_aabb[g][3:]
            signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
            found.append((center + signs * half) @ data.geom_xmat[g].reshape(3, 3).T + data.geom_xpos[g])
        return cls(np.concatenate(found))


def _grasp(thing: Shape) -> Grip:
    """Not deep, for the hand must not meet a tall thing, and no deeper than the middle of a flat one."""
    turns = sorted(np.radians(np.arange(-90, 91, 15)), key=abs)
    fitting = [turn for turn in turns if thing.width_m(turn) < _JAWS_M]
    turn = fitting[0] if fitting else min(turns, key=thing.width_m)
    depth_m = min(_DEPTH_M, (thing.top_m - thing.bottom_m) / 2)
    height_m = max(thing.top_m - depth_m, thing.bottom_m + _FLOOR_M)
    jaws = np.array([-np.sin(turn), np.cos(turn), 0.0])
    return Grip(np.array([*thing.middle_m[:2], height_m]), -UP, jaws)
