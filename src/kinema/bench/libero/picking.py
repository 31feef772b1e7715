"""Take a thing, carry it clear of everything, and set it down where it belongs."""

from __future__ import annotations

from typing import Any

import numpy as np

from kinema.bench.libero.arm import CLOSED, OPEN, UP, Arm, Grip, Skill, close, go, leave, let_go
from kinema.bench.libero.grasps import grasps
from kinema.bench.libero.places import Pose, Region, place
from kinema.bench.libero.solids import Boxes, scene, thing

_HOVER_M = 0.08  # of the tool from a grasp, and of a thing from its place
_LIFT_M = 0.05  # after which a thing hangs as it will hang
_CLEAR_M = 0.03  # of what passes over something
_HAND_M = 0.06  # half the width of what passes
_LOST_M = 0.04  # a thing that moved so far in the hand is not held any more
_PASSED_M, _MET_M = 0.04, 0.008
_PRESSED_M = 0.01  # below where a thing should touch
_LOWERING_STEPS, _WAITING_STEPS = 25, 10


def put(env: Any, arm: Arm, name: str, where: str, inside: bool) -> Skill:
    """One try: it ends with open fingers, whether the thing is there or slipped."""
    stood, region = Pose.of(env, name).rotation, Region.of(env, where, inside)
    if (grasp := next(grasps(arm, thing(env, name), scene(env, without=name), region.tilt), None)) is None:
        yield from let_go(arm, _WAITING_STEPS)
        return
    yield from _passed_over(arm, grasp.back(_HOVER_M), scene(env), 0.0, OPEN)
    yield from go(arm, lambda: grasp, OPEN, near_m=_MET_M)
    yield from close(arm, lambda: grasp)
    yield from _held(env, arm, name, _carried(env, arm, name, region, stood))
    yield from leave(arm, _HOVER_M, _PASSED_M)


def _carried(env: Any, arm: Arm, name: str, region: Region, stood: np.ndarray) -> Skill:
    lifted = arm.grip().shifted(_LIFT_M * UP)
    yield from go(arm, lambda: lifted, CLOSED, near_m=0.02)
    held, now, around = thing(env, name), Pose.of(env, name), scene(env, without=name)
    if (there := place(region, arm.grip(), held, now, stood, around)) is None:
        return
    above = Pose(there.position_m + _HOVER_M * UP, there.rotation)
    yield from _passed_over(
        arm, now.carried(arm.grip(), above), around, float(arm.tool_m[2] - held.bottom_m), CLOSED
    )
    yield from go(arm, lambda: Pose.of(env, name).carried(arm.grip(), above), CLOSED, near_m=0.015)
    down = Pose.of(env, name).carried(arm.grip(), there).shifted(-_PRESSED_M * UP)
    for _ in range(_LOWERING_STEPS):
        if arm.near(down, _MET_M, 1.0) or _touches(env, name):
            return
        yield arm.towards(down, CLOSED)


def _held(env: Any, arm: Arm, name: str, motion: Skill) -> Skill:
    """The motion as long as the thing stays in the hand."""

    def seen() -> np.ndarray:
        return np.asarray(arm.rotation.T @ (Pose.of(env, name).position_m - arm.tool_m))

    at_first = seen()
    for action in motion:
        if np.linalg.norm(seen() - at_first) > _LOST_M:
            return
        yield action


def _passed_over(arm: Arm, to: Grip, around: Boxes, hangs_m: float, fingers: float) -> Skill:
    """Up, over everything, and to the grip. hangs_m: how far below the tool what it carries ends."""
    height_m = _highest(around, arm.tool_m, to.position_m) + _CLEAR_M + hangs_m
    if height_m > arm.tool_m[2]:
        up = arm.grip().at(np.array([*arm.tool_m[:2], height_m]))
        yield from go(arm, lambda: up, fingers, near_m=_PASSED_M)
    over = to.at(np.array([*to.position_m[:2], max(height_m, to.position_m[2])]))
    yield from go(arm, lambda: over, fingers, near_m=_PASSED_M)
    yield from go(arm, lambda: to, fingers, near_m=_PASSED_M)


def _highest(around: Boxes, start: np.ndarray, end: np.ndarray) -> float:
    """The top of what lies under a straight way [m]."""
    reach_m = float(np.linalg.norm(end - start)) / 2 + 0.5
    points = around.surface_near((start + end) / 2, reach_m, 0.03)
    way = (end - start)[:2]
    along = np.clip((points[:, :2] - start[:2]) @ way / max(float(way @ way), 1e-9), 0, 1)
    off_m = np.linalg.norm(points[:, :2] - start[:2] - along[:, None] * way, axis=1)
    return float(points[off_m < _HAND_M, 2].max(initial=-np.inf))


def _touches(env: Any, name: str) -> bool:
    """Whether the thing touches anything but the robot."""
    model, data = env.sim.model, env.sim.data
    (robot,) = env.robots
    own = model.body_rootid[env.env.obj_body_id[name]]
    hand = model.body_rootid[model.body_name2id(robot.robot_model.root_body)]
    roots = model.body_rootid[model.geom_bodyid[data.contact.geom[: data.ncon]]]
    return any(own in pair and hand not in pair for pair in roots.tolist())
