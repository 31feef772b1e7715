"""One plan per family: the present state to a target for each arm that acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kinema.worlds.tabletop.experts.motion import (
    SECURE_N,
    ToolTarget,
    carried,
    carry,
    funnel,
    grasp,
    grasp_at,
    pick_and_place,
    retreat,
    share,
    shut_first,
    step_m,
)
from kinema.worlds.tabletop.families.button import TRAVEL_M, PressButton
from kinema.worlds.tabletop.families.drawer import HANDLE_WIDTH_M, Drawer
from kinema.worlds.tabletop.families.lift import LiftTwoArms
from kinema.worlds.tabletop.families.pick_place import PickPlace
from kinema.worlds.tabletop.families.push import Push
from kinema.worlds.tabletop.families.stack import Stack
from kinema.worlds.tabletop.families.tidy import Tidy
from kinema.worlds.tabletop.props import Block
from kinema.worlds.tabletop.scene import Scene

Targets = Mapping[str, ToolTarget]

_TO_THE_END_M = 0.008  # how much farther than asked a drawer is moved before it is let go


def plan_pick_place(scene: Scene, task: PickPlace) -> Targets:
    place = task.place
    goal = place.position(scene.data)
    half_height = task.target.half_height(scene.data)
    # Over a bowl the finger tips stay above the rim, and the block drops the last two centimetres.
    tips = scene.tip_below_tool_m() + place.rim_m + 0.008 if place.kind != "plate" else 0.0
    goal[2] = max(place.floor_m + half_height + 0.004, tips)
    return {"right": pick_and_place(scene, task.target, "right", goal, task.over(scene))}


def plan_stack(scene: Scene, task: Stack) -> Targets:
    goal = task.goal(scene) + np.array([0.0, 0.0, 0.003])
    return {"right": pick_and_place(scene, task.target, "right", goal, task.over(scene))}


def plan_tidy(scene: Scene, task: Tidy) -> Targets:
    side = "right"
    for block in task.used:  # whatever is in the hand goes into the box first
        if carried(scene, block, side):
            return {side: carry(scene, block, side, _above_slot(scene, task, block))}
    lying = task.next_block(scene)
    return {side: grasp(scene, lying, side) if lying else retreat(scene, side)}


def _above_slot(scene: Scene, task: Tidy, block: Block) -> np.ndarray:
    goal = task.free_slot(scene, block)
    goal[2] += max(block.half_height(scene.data), scene.tip_below_tool_m() + task.box.rim_m) + 0.008
    return goal


def plan_button(scene: Scene, task: PressButton) -> Targets:
    """Shut the jaws on the way, then press down."""
    tool = scene.tool()
    goal = task.target.top(scene.data)
    goal[2] += scene.tip_below_tool_m() - TRAVEL_M - 0.004
    goal = shut_first(scene, "right", goal)
    return {
        "right": ToolTarget(
            position_m=funnel(tool, goal, step_m=step_m(scene), rise_m=scene.rise_m - 0.02, near_m=0.012),
            opening=0.0,
        )
    }


def plan_drawer(scene: Scene, task: Drawer) -> Targets:
    """Grasp the handle, pull or push along the drawer's axis to the end, and let go before rising."""
    cabinet, side = task.cabinet, "right"
    held = scene.pinch_n(cabinet.drawer, side) >= SECURE_N
    tool, handle = scene.tool(side), cabinet.handle(scene.data)
    if task.moved(scene, spare_m=_TO_THE_END_M) or (task.moved(scene) and not held):
        if np.linalg.norm(handle - tool) < 0.05 and scene.gap_m(side) < HANDLE_WIDTH_M + 0.01:
            return {side: ToolTarget(position_m=tool, opening=1.0)}
        return {side: retreat(scene, side)}
    if not held:
        return {side: grasp_at(scene, handle, side)}
    direction = cabinet.outwards(scene.data) * (1.0 if task.opening else -1.0)
    offset = handle - tool
    across = offset - direction * (offset @ direction)
    step = direction * step_m(scene) + share(scene, 0.5) * across
    return {side: ToolTarget(position_m=tool + step, opening=0.0)}


def plan_push(scene: Scene, task: Push) -> Targets:
    """Stand behind the block with shut jaws, then push along the line to the area, steering as it turns."""
    side = "right"
    if task.inside(scene):
        return {side: retreat(scene, side)}
    tool, block = scene.tool(side), task.target.position(scene.data)
    way = task.region.position(scene.data)[:2] - block[:2]
    left = float(np.linalg.norm(way))
    direction = way / left
    reach = _support(scene, task, direction) + scene.tip_half_m(side)
    low = scene.tip_below_tool_m(side) + 0.010
    offset = tool[:2] - block[:2]
    behind = -float(offset @ direction)
    lateral = offset + behind * direction
    if tool[2] < low + 0.02 and behind > 0.6 * reach and np.linalg.norm(lateral) < 0.35 * behind:
        step = min(0.7 * step_m(scene), left + max(0.0, behind - reach))
        goal = tool[:2] + direction * step - share(scene, 0.6) * lateral
        return {side: ToolTarget(position_m=np.array([*goal, low]), opening=0.0)}
    room = 0.022 if scene.tip_half_m(side) < 0.025 else 0.012  # a broad fixed jaw needs no more
    start = block[:2] - direction * (reach + room)
    goal = shut_first(scene, side, np.array([*start, low]))
    way = funnel(tool, goal, step_m=step_m(scene), rise_m=scene.rise_m, wide_m=min(0.018, scene.funnel_m))
    return {side: ToolTarget(position_m=way, opening=0.0)}


def plan_lift(scene: Scene, task: LiftTwoArms) -> Targets:
    """Each arm takes its handle and waits for the other; then both rise together."""
    sides = [handle.side for handle in scene.robot.arms]
    held = {side: scene.pinch_n(task.tray.body, side) > 0.6 * SECURE_N for side in sides}
    if not all(held.values()):
        return {side: grasp_at(scene, task.tray.handle(scene.data, side), side) for side in sides}
    # The lower arm leads: the tray stays level and neither arm pulls it from the other.
    height = min(scene.tool(side)[2] for side in sides) + 0.5 * step_m(scene)
    targets = {}
    for side in sides:
        handle = task.tray.handle(scene.data, side)
        targets[side] = ToolTarget(position_m=np.array([handle[0], handle[1], height]), opening=0.0)
    return targets


def _support(scene: Scene, task: Push, direction: np.ndarray) -> float:
    """How far the block reaches from its centre along a horizontal direction."""
    axes = scene.data.xmat[task.target.body].reshape(3, 3)[:2]
    return float(np.abs(direction @ axes) @ np.array(task.target.shape.half_m))


PLANS: dict[str, Callable[[Scene, Any], Targets]] = {
    "pick_place": plan_pick_place,
    "stack": plan_stack,
    "push": plan_push,
    "drawer": plan_drawer,
    "button": plan_button,
    "tidy": plan_tidy,
    "lift_two_arms": plan_lift,
}
