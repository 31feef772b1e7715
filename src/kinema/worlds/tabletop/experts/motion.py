"""Feedback motions of one gripper: where the tool should be one control step from now, given the state.

Nothing here remembers anything. Phases follow from geometry and contact forces: a block that both jaws
squeeze is carried, a block that lies where it belongs is left, anything else is approached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kinema.worlds.tabletop.props import Block
from kinema.worlds.tabletop.scene import Scene

STEP_M = 0.05  # in 0.1 s, and in one control step at most
_AROUND_M = 0.012  # across, and up or down: the jaws may close
SECURE_N = 4.0  # a squeeze that holds a block of 60 g many times over


@dataclass(frozen=True, kw_only=True)
class ToolTarget:
    """Where one tool should be at the end of the control step, pointing straight down."""

    position_m: np.ndarray  # (3,)
    opening: float


Targets = Mapping[str, ToolTarget]  # by the arm's side


def funnel(
    tool: np.ndarray,
    goal: np.ndarray,
    *,
    step_m: float = STEP_M,
    rise_m: float = 0.09,
    near_m: float = 0.008,
    wide_m: float = 0.05,
) -> np.ndarray:
    """One step towards a goal that must be entered from above.

    The wanted height grows with the horizontal distance, and the tool does not move sideways while it is
    much lower than that: from any state this gives one smooth arch over whatever stands between.
    """
    delta = goal[:2] - tool[:2]
    distance = float(np.linalg.norm(delta))

    def height(distance_m: float) -> float:
        return float(goal[2] + rise_m * np.clip((distance_m - near_m) / wide_m, 0.0, 1.0))

    below = max(0.0, height(distance) - tool[2])
    sideways = min(distance, step_m) * float(np.clip(1.2 - below / 0.04, 0.0, 1.0))
    target = tool.copy()
    if distance > 1e-6:
        target[:2] += delta / distance * sideways
    # Into a steep funnel the tool goes down only after it has arrived over the goal.
    then = distance - sideways if wide_m > 0.0175 else distance
    target[2] += np.clip(height(then) - tool[2], -step_m, step_m)
    return target


def straight(tool: np.ndarray, goal: np.ndarray, step_m: float = STEP_M) -> np.ndarray:
    """One step straight towards a goal."""
    delta = goal - tool
    distance = float(np.linalg.norm(delta))
    if step_m <= 0.0:
        return tool.copy()
    return goal.copy() if distance <= step_m else tool + delta * (step_m / distance)


def step_m(scene: Scene) -> float:
    """How far a tool moves in one control step."""
    return STEP_M * scene.pace


def share(scene: Scene, of_tenth_s: float) -> float:
    """The share of an error to make good in one control step, from that in 0.1 s."""
    return of_tenth_s if scene.pace == 1.0 else 1.0 - (1.0 - of_tenth_s) ** scene.pace


def carried(scene: Scene, block: Block, side: str) -> bool:
    return scene.pinch_n(block.body, side) > SECURE_N


def grasp(scene: Scene, block: Block, side: str) -> ToolTarget:
    """Approach a block from above with open jaws and close them around it."""
    goal = block.position(scene.data) + scene.grasp_offset(side, block.shape.half_m[1])
    goal[2] = max(goal[2], scene.tip_below_tool_m(side) + 0.004)
    return grasp_at(scene, goal, side)


def grasp_at(scene: Scene, goal: np.ndarray, side: str) -> ToolTarget:
    """Approach a point (3,) from above with open jaws and close them there."""
    tool = scene.tool(side)
    around = np.linalg.norm(goal[:2] - tool[:2]) < _AROUND_M and abs(goal[2] - tool[2]) < _AROUND_M
    if around:
        return ToolTarget(position_m=goal, opening=0.0)
    way = funnel(tool, goal, step_m=step_m(scene), rise_m=scene.rise_m, wide_m=scene.funnel_m)
    return ToolTarget(position_m=way, opening=1.0)


def catch(scene: Scene, block: Block, side: str, floor_m: float) -> ToolTarget:
    """Close the jaws around a block that moves at a constant speed on a floor at this height.

    The goal is where it will be when the tool gets there; over the block the jaws move with it and close.
    """
    tool, period_s = scene.tool(side), 1.0 / scene.card.control_hz
    now = block.position(scene.data) + scene.grasp_offset(side, block.shape.half_m[1])
    now[2] = max(now[2], floor_m + scene.tip_below_tool_m(side) + 0.004)
    velocity = np.array([*scene.data.qvel[block.dof : block.dof + 2], 0.0])
    away = float(np.linalg.norm(now[:2] - tool[:2]))
    if away < _AROUND_M and abs(now[2] - tool[2]) < _AROUND_M:
        return ToolTarget(position_m=now + period_s * velocity, opening=0.0)
    arrival_s = period_s * max(1.0, away / step_m(scene))
    goal = now + arrival_s * velocity
    way = funnel(tool, goal, step_m=step_m(scene), rise_m=scene.rise_m, wide_m=scene.funnel_m)
    return ToolTarget(position_m=way, opening=1.0)


def shut_first(scene: Scene, side: str, goal: np.ndarray) -> np.ndarray:
    """The goal, held higher while the jaws are still open."""
    wait = (scene.rise_m - 0.01) * float(np.clip((scene.opening(side) - 0.25) / 0.15, 0.0, 1.0))
    return goal + np.array([0.0, 0.0, wait])


def carry(scene: Scene, block: Block, side: str, goal: np.ndarray) -> ToolTarget:
    """Bring a squeezed block's centre to `goal` (3,) from above and let go there."""
    tool = scene.tool(side)
    offset = tool - block.position(scene.data)
    tool_goal = goal + offset
    above = tool[2] - tool_goal[2]
    low = above < 0.010 or (above < 0.035 and scene.supported(block.body))
    there = np.linalg.norm(tool_goal[:2] - tool[:2]) < 0.015 and low
    way = funnel(tool, tool_goal, step_m=step_m(scene), rise_m=scene.rise_m, wide_m=scene.funnel_m)
    return ToolTarget(position_m=way, opening=1.0 if there else 0.0)


def retreat(scene: Scene, side: str, block: Block | None = None, height_m: float = 0.20) -> ToolTarget:
    """Let go and rise, no faster than the jaws clear the block."""
    tool = scene.tool(side)
    step = step_m(scene)
    if block is not None and np.linalg.norm(block.position(scene.data) - tool) < 0.05:
        step *= float(np.clip((scene.gap_m(side) - block.shape.half_m[1] * 2 - 0.006) / 0.010, 0.0, 1.0))
    goal = np.array([tool[0], tool[1], max(height_m, tool[2])])
    return ToolTarget(position_m=straight(tool, goal, step), opening=1.0)


def pick_and_place(scene: Scene, block: Block, side: str, goal: np.ndarray, placed: bool) -> ToolTarget:
    """The whole motion, decided from the present state alone."""
    held = carried(scene, block, side)
    if placed and not held:
        return retreat(scene, side, block)
    if held:
        return carry(scene, block, side, goal)
    return grasp(scene, block, side)
