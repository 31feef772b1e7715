"""One plan per family: the present state to a target for each arm that acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kinema.worlds.experts.motion import ToolTarget, pick_and_place
from kinema.worlds.tabletop.families.pick_place import PickPlace
from kinema.worlds.tabletop.scene import Scene


def plan_pick_place(scene: Scene, task: PickPlace) -> Mapping[str, ToolTarget]:
    place = task.place
    goal = place.position(scene.data)
    half_height = task.target.shape.half_m[2]
    # Over a bowl the finger tips stay above the rim, and the block drops the last two centimetres.
    tips = scene.tip_below_tool_m() + place.rim_m + 0.008 if place.kind != "plate" else 0.0
    goal[2] = max(place.floor_m + half_height + 0.004, tips)
    return {"right": pick_and_place(scene, task.target, "right", goal, task.over(scene))}


PLANS: dict[str, Callable[[Scene, Any], Mapping[str, ToolTarget]]] = {
    "pick_place": plan_pick_place,
}

__all__ = ["PLANS", "np"]
