"""Put a thing through the open door of furniture: held by what sticks out of it, and moved in level.

World positions [m]. The hand stays outside: it holds the thing at the side from which it goes in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kinema.bench.libero.arm import CLOSED, OPEN, UP, Arm, Grip, Skill, close, go, let_go
from kinema.bench.libero.articulated import Part, leaning
from kinema.bench.libero.places import Pose
from kinema.bench.libero.solids import Boxes, thing

_HINGE = 3  # of MuJoCo's kinds of joints
_LEAN_RAD = np.radians(70)  # of the hand, out of the door
_BACK_M = 0.1
_LIFT_M = 0.02  # of the thing above the floor that it goes over
_BEFORE_M = 0.12  # in front of the region, before it goes in
_IN_M = 0.03  # behind the region's front
_PASSED_M = 0.03
_LOST_M = 0.04
_LOWERING_STEPS = 12


def has_door(env: Any, region: str) -> bool:
    """Whether what the region belongs to has a door of its own, and no part that takes the region along."""
    site, model = env.env.object_sites_dict.get(region), env.sim.model
    if site is None or site.joints:
        return False
    joints = env.env.get_object(site.parent_name).joints  # of what is loose, such as a basket, too
    return any(model.jnt_type[model.joint_name2id(joint)] == _HINGE for joint in joints)


def stow(env: Any, arm: Arm, name: str, region: str) -> Skill:
    """One try."""
    site = env.env.object_sites_dict[region]
    out = way_out(Part.of(env, site.parent_name))
    middle, half = env.sim.data.get_site_xpos(region), np.asarray(site.size, np.float64)
    floor = floor_under(thing(env, site.parent_name), middle)
    grip = arm.spared(_grip(thing(env, name), out))
    yield from go(arm, lambda: grip.back(_BACK_M), OPEN, near_m=_PASSED_M)
    yield from go(arm, lambda: grip, OPEN)
    yield from close(arm, lambda: grip)
    held_m = arm.tool_m - Pose.of(env, name).position_m

    def at(out_m: float, above_m: float) -> Grip:
        """Where the tool is when the thing's origin is so far out of the region's middle, over the floor."""
        beside = np.cross(UP, out)
        aim = middle + out_m * out + ((floor - middle) @ beside) * beside
        aim[2] = floor[2] + above_m
        return grip.at(aim + held_m)

    front_m = float(np.abs(out) @ half)
    before, inside = at(front_m + _BEFORE_M, _LIFT_M), at(front_m - _IN_M, _LIFT_M)
    lifted = grip.at(np.append(arm.tool_m[:2], before.position_m[2]))
    for action in _along(arm, lifted, before, inside):
        if np.linalg.norm(arm.tool_m - Pose.of(env, name).position_m - held_m) > _LOST_M:
            return
        yield action
    down = inside.shifted(-2 * _LIFT_M * UP)
    for _ in range(_LOWERING_STEPS):
        yield arm.towards(down, CLOSED)
    yield from let_go(arm)
    here = arm.grip()
    yield from go(arm, lambda: here.shifted(_BACK_M * out), OPEN, near_m=_PASSED_M)


def _along(arm: Arm, lifted: Grip, before: Grip, inside: Grip) -> Skill:
    yield from go(arm, lambda: lifted, CLOSED, near_m=0.02)
    yield from go(arm, lambda: before, CLOSED, near_m=_PASSED_M)
    yield from go(arm, lambda: inside, CLOSED)


def way_out(door: Part) -> np.ndarray:
    """The direction in which a shut door begins to open."""
    panel = door.boxes().reshape(-1, 3).mean(0)
    shut = door.moved(Grip(panel, UP, UP), -door.travel).position_m
    return np.round(-door.motion(shut), 6)


def _grip(solid: Boxes, out: np.ndarray) -> Grip:
    """Of the box that sticks out most, from the side."""
    outermost = int(np.argmax(solid.centers @ out))
    return Grip(solid.centers[outermost], leaning(out, _LEAN_RAD), np.cross(UP, out))


def floor_under(furniture: Boxes, point: np.ndarray) -> np.ndarray:
    """The middle (3,) of the upper side of the highest box that is below a point."""
    reach = np.einsum("nij,nj->ni", np.abs(furniture.rotations), furniture.halves)
    tops = furniture.centers + reach * UP
    below = (np.abs(point - furniture.centers) < reach)[:, :2].all(1) & (tops[:, 2] < point[2])
    return np.asarray(max(tops[below], key=lambda top: top[2]))
