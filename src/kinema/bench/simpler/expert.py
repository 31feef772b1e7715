"""A scripted expert for SimplerEnv's WidowX: takes a thing by two fingers and lets it go on its goal.

It reads the simulator's state and acts by the benchmark's own actions. Runs in SimplerEnv's own environment.
Positions [m] and rotations are in the robot's frame, whose z points up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kinema.bench.simpler.robot import matrix, tool
from kinema.space.rotation import rotvec_from_matrix

OPEN, CLOSED = 1.0, 0.0
UP = np.array([0.0, 0.0, 1.0])
_STEP_M, _STEP_RAD = 0.04, 0.2  # of an action at most
_NEAR_M, _NEAR_RAD = 0.004, 0.05
_PATIENCE_STEPS = 14
_ABOVE_M = 0.06  # over what is taken or let go
_TIP_M = 0.017  # how far the tool stays over what the thing lies on: its finger tips reach so far ahead
_SLICE_M = 0.015  # to either side of its centre, where a thing is taken
_TIE_M = 0.0015
_FINGER_M = 0.011  # half of a finger's breadth
_TAPER_M = 0.0005  # along it: one end of the fingers touches then, the other one does not
_CLEAR_M = 0.02  # over a rim that is between
_FALL_M = 0.004  # over the goal, when it is let go; into a basket, from over its bottom
_INTO_M = 0.03
_HELD = 0.5  # of the lift: a thing whose lowest point is up so far is held, neither lost nor swinging
_CLOSING_STEPS = 4
_OPENING_STEPS = 3
_FINE = 8  # parts of a triangle's side
_WITHIN = np.array([(i, j, _FINE - i - j) for i in range(_FINE + 1) for j in range(_FINE + 1 - i)]) / _FINE

Skill = Iterator[np.ndarray]


class Expert:
    """For one episode, which it is made for; `act` is called once a step.

    env: ManiSkill's environment, after its reset
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        self._arm = env.agent.controller.controllers["arm"]
        self._thing, self._goal = (env.objs[name] for name in (env.source_obj_name, env.target_obj_name))
        self._basket = getattr(env, "sink", None)
        self._R = self._tool[:3, :3]  # the tool's rotation that is wanted
        self._actions = self._played()

    def act(self) -> np.ndarray:
        """A native action (7,)."""
        return next(self._actions)

    def _played(self) -> Skill:
        while True:
            if not bool(self._env.get_info()["success"][0]):
                yield from self._put()
            yield self._towards(self._tool[:3, 3], OPEN)

    def _put(self) -> Skill:
        """Take it, unless it is held already, as after another has acted, and let it go on the goal."""
        rim = self._top(self._goal)
        if self._basket:
            rim = max(rim, self._top(self._basket))
        if bool(self._env.get_info()["is_src_obj_grasped"][0]):
            position, self._R = self._tool[:3, 3], self._tool[:3, :3]
        else:
            position, self._R = grip(self._points(self._thing), self._centre(self._thing), self._tool[:3, :3])
            rim = max(rim, self._lowest())
            yield from self._take(position)
        wanted = rim + _CLEAR_M
        lift = max(wanted - self._lowest(), 0.0)
        lifted, lost = position + lift * UP, wanted - _HELD * max(lift, _CLEAR_M)
        yield from self._go(lifted, CLOSED)
        if self._lowest() < lost:
            return
        over = lifted + self._aim() - [*_middle(self._points(self._thing)), 0]
        yield from self._go(over, CLOSED)
        held = self._points(self._thing)
        if held[:, 2].min() < lost:
            return
        fall = _INTO_M if self._basket else _FALL_M
        down = self._top(self._goal) + fall - held[:, 2].min()
        at = self._tool[:3, 3] + self._aim() - [*_middle(held), -down]
        yield from self._go(at, CLOSED)
        for _ in range(_OPENING_STEPS):
            yield self._towards(at, OPEN)
        yield from self._go(at + _ABOVE_M * UP, OPEN)

    def _take(self, position: np.ndarray) -> Skill:
        """From above."""
        yield from self._go(position + _ABOVE_M * UP, OPEN)
        yield from self._go(position, OPEN)
        for _ in range(_CLOSING_STEPS):
            yield self._towards(position, CLOSED)

    def _go(self, position: np.ndarray, opening: float) -> Skill:
        """Until the tool is there, or for so long."""
        for _ in range(_PATIENCE_STEPS):
            T = self._tool
            turn = rotvec_from_matrix(self._R @ T[:3, :3].T)
            if np.linalg.norm(position - T[:3, 3]) < _NEAR_M and np.linalg.norm(turn) < _NEAR_RAD:
                return
            yield self._towards(position, opening)

    def _towards(self, position: np.ndarray, opening: float) -> np.ndarray:
        """A native action (7,) that brings the controller's target nearer."""
        T = tool(self._arm._target_pose)
        move = _limited(position - T[:3, 3], _STEP_M)
        turn = _limited(rotvec_from_matrix(self._R @ T[:3, :3].T), _STEP_RAD)
        return np.concatenate([move, turn, [opening]])

    @property
    def _tool(self) -> np.ndarray:
        return tool(self._arm.ee_pose_at_base)

    def _aim(self) -> np.ndarray:
        """The goal's middle, as a vector along the table (3,)."""
        return np.array([*_middle(self._points(self._goal)), 0.0])

    def _lowest(self) -> float:
        """Of what is taken."""
        return float(self._points(self._thing)[:, 2].min())

    def _top(self, thing: Any) -> float:
        return float(self._points(thing)[:, 2].max())

    def _points(self, thing: Any) -> np.ndarray:
        """Points all over the surfaces that it collides with (N, 3)."""
        (body,) = thing._bodies
        return self._placed(thing, np.concatenate([surface(shape) for shape in body.collision_shapes]))

    def _centre(self, thing: Any) -> np.ndarray:
        """Of its mass (3,)."""
        (body,) = thing._bodies
        return self._placed(thing, body.cmass_local_pose.p)

    def _placed(self, thing: Any, points: np.ndarray) -> np.ndarray:
        """Points of a thing's own frame (..., 3), where it is now."""
        T = matrix(self._arm.root_link.pose.inv() * thing.pose)
        return np.asarray(points @ T[:3, :3].T + T[:3, 3])


def surface(shape: Any) -> np.ndarray:
    """Points of all triangles of a collision shape (N, 3), in its body's frame: corners lie far apart."""
    corners = (np.asarray(shape.vertices) * shape.scale)[np.asarray(shape.triangles)]
    points = np.einsum("pc,tcx->tpx", _WITHIN, corners).reshape(-1, 3)
    T = shape.local_pose.to_transformation_matrix()
    return np.asarray(points @ T[:3, :3].T + T[:3, 3])


def grip(points: np.ndarray, centre: np.ndarray, R_tool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where two fingers from above take a thing, (3,), and the tool's rotation there, (3, 3).

    points (N, 3): of its surface; centre (3,): of its mass. Across where it is thinnest at its centre; of
    equally thin ways the one that turns the tool, now R_tool, the least. A thing that tapers is touched by
    the fingers' edges alone and swings about them: these are brought to its centre, not the tool.
    """
    flat = points[:, :2] - centre[:2]
    angles = np.radians(np.arange(0, 360, 2))
    ways = np.stack([np.cos(angles), np.sin(angles)], 1)
    spans = np.stack([_span(flat, way, -_SLICE_M, _SLICE_M) for way in ways])
    widths = spans[:, 1] - spans[:, 0]
    best = np.flatnonzero(widths < widths.min() + _TIE_M)
    chosen = max(best.tolist(), key=lambda i: float(ways[i] @ R_tool[:2, 1]))
    way = ways[chosen]
    thinner, wider = (np.ptp(_span(flat, way, *ends)) for ends in ((-_FINGER_M, 0.0), (0.0, _FINGER_M)))
    back = _FINGER_M * np.sign(wider - thinner) * (abs(wider - thinner) > _TAPER_M)
    across = _span(flat, way, -_SLICE_M - back, _SLICE_M - back).mean()
    place = centre[:2] + across * way - back * _along(way)
    jaws, down = np.array([*way, 0.0]), np.array([0.0, 0.0, -1.0])
    lowest, highest = points[:, 2].min(), points[:, 2].max()
    position = np.array([*place, max(lowest + _TIP_M, (lowest + highest) / 2)])
    return position, np.stack([np.cross(jaws, down), jaws, down], axis=1)


def _span(flat: np.ndarray, way: np.ndarray, low: float, high: float) -> np.ndarray:
    """From where to where points (N, 2) reach that way (2,), of those between two places along the other."""
    along = flat @ _along(way)
    within = flat[(along >= low) & (along <= high)] @ way
    return np.array([within.min(), within.max()]) if len(within) else np.array([-np.inf, np.inf])


def _along(way: np.ndarray) -> np.ndarray:
    return np.array([-way[1], way[0]])


def _middle(points: np.ndarray) -> np.ndarray:
    return np.asarray((points[:, :2].min(0) + points[:, :2].max(0)) / 2)


def _limited(vector: np.ndarray, longest: float) -> np.ndarray:
    return np.asarray(vector * min(1.0, longest / max(float(np.linalg.norm(vector)), 1e-9)))
