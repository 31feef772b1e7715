"""A scripted expert for LIBERO-Object: take the named thing from above and let go of it over the basket.

It reads the simulator's state and acts by the benchmark's own actions. Runs in LIBERO's own environment.
Frames: positions [m] and turns are the world's; the gripper closes along the tool's y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SUITES = ("object",)  # that it solves
_STEP_M, _STEP_RAD = 0.05, 0.5  # of an action of 1
_GAIN = 3.0  # the target moves on from where the tool is, and the tool lags behind it
_NEAR_M = 0.012
_CLOSING_STEPS = 12
_HOVER_M = 0.1  # of the tool above the thing
_CLEAR_M = 0.025  # of what is carried above the rim
_LOST_M = 0.08  # a thing this far from where it was taken is not held any more
_JAWS_M = 0.07  # of 0.08 that they open
_DEPTH_M = 0.03  # of the finger tips below the thing's top
_FLOOR_M = 0.01  # of them above what it stands on
_OPEN, _CLOSED = -1.0, 1.0


@dataclass
class _Shape:
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


class Expert:
    """For one episode, which it is made for; `act` is called once a step.

    env: LIBERO's evaluation environment, with the start state put
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        self._thing, self._basket = env.obj_of_interest
        self._phase = "above"
        self._steps_closed = 0
        self._turn_rad = _narrow(self._shape(self._thing))
        self._offset_m = np.zeros(3)  # from the tool to the thing, when it was taken

    def act(self) -> np.ndarray:
        """A native action (7,)."""
        (robot,), data = self._env.robots, self._env.sim.data
        tool = data.get_site_xpos(robot.gripper.important_sites["grip_site"])
        R_world_tool = data.get_body_xmat(robot.robot_model.eef_name).reshape(3, 3)
        thing, basket = self._shape(self._thing), self._shape(self._basket)
        grasp = np.array([*thing.middle_m[:2], _grasp_height_m(thing)])
        over = np.array([*basket.middle_m[:2], basket.top_m + _CLEAR_M + tool[2] - thing.bottom_m])
        target, fingers = tool, _OPEN
        if self._phase in ("lift", "carry") and self._lost(tool, thing):
            self._phase = "above"
        if self._phase == "above":
            target = np.array([*grasp[:2], thing.top_m + _HOVER_M])
            self._go_on(tool, target, "down")
        elif self._phase == "down":
            target = grasp
            self._go_on(tool, target, "close")
        elif self._phase == "close":
            target, fingers = tool, _CLOSED
            self._steps_closed += 1
            if self._steps_closed > _CLOSING_STEPS:
                self._phase, self._steps_closed, self._offset_m = "lift", 0, thing.middle_m - tool
        elif self._phase == "lift":
            target, fingers = np.array([*tool[:2], over[2]]), _CLOSED
            self._go_on(tool, target, "carry")
        elif self._phase == "carry":
            target, fingers = over, _CLOSED
            self._go_on(tool, target, "leave")
        return np.concatenate([self._towards(tool, target, R_world_tool), [fingers]])

    def _towards(self, tool: np.ndarray, target: np.ndarray, R_world_tool: np.ndarray) -> np.ndarray:
        cosine, sine = np.cos(self._turn_rad), np.sin(self._turn_rad)
        R_wanted = np.array([[cosine, sine, 0], [sine, -cosine, 0], [0, 0, -1.0]])  # straight down
        delta = R_wanted @ R_world_tool.T
        error = 0.5 * np.array(
            [delta[2, 1] - delta[1, 2], delta[0, 2] - delta[2, 0], delta[1, 0] - delta[0, 1]]
        )
        moves = np.concatenate([(target - tool) / _STEP_M, error / _STEP_RAD])
        return np.asarray(np.clip(_GAIN * moves, -1.0, 1.0))

    def _go_on(self, tool: np.ndarray, target: np.ndarray, phase: str) -> None:
        if np.linalg.norm(target - tool) < _NEAR_M:
            self._phase = phase

    def _lost(self, tool: np.ndarray, thing: _Shape) -> bool:
        return bool(np.linalg.norm(thing.middle_m - tool - self._offset_m) > _LOST_M)

    def _shape(self, name: str) -> _Shape:
        """The corners of the geoms that a thing collides with."""
        model, data = self._env.sim.model, self._env.sim.data
        found = []
        for geom in self._env.env.get_object(name).contact_geoms:
            g = model.geom_name2id(geom)
            center, half = model.geom_aabb[g][:3], model.geom_aabb[g][3:]
            signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
            found.append((center + signs * half) @ data.geom_xmat[g].reshape(3, 3).T + data.geom_xpos[g])
        return _Shape(np.concatenate(found))


def _grasp_height_m(thing: _Shape) -> float:
    """Not deep, for the hand must not meet a tall thing, and no deeper than the middle of a flat one."""
    depth_m = min(_DEPTH_M, (thing.top_m - thing.bottom_m) / 2)
    return max(thing.top_m - depth_m, thing.bottom_m + _FLOOR_M)


def _narrow(thing: _Shape) -> float:
    """The smallest turn at which the jaws go around it, or that of its narrowest side [rad]."""
    turns = sorted(np.radians(np.arange(-90, 91, 15)), key=abs)
    fitting = [turn for turn in turns if thing.width_m(turn) < _JAWS_M]
    return float(fitting[0] if fitting else min(turns, key=thing.width_m))
