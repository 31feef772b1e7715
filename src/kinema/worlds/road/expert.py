"""A driver without memory: it follows a line, minds the others, and knows what to do from any state."""

from __future__ import annotations

import numpy as np

from kinema.worlds.road.cars import LENGTH_M, WHEELBASE_M, Pose, Traffic, collide, drive
from kinema.worlds.road.env import RoadEnv
from kinema.worlds.road.lanes import CROSSING_M, LANE_M, REACH_M, STOP_LINE_M, Line, to_approach

CRUISE_M_S = 7.0
_ACROSS_M_S2 = 2.2  # what a curve may press sideways
_BRAKE_M_S2 = 3.0
_AHEAD_S = (7.0, 3.0)  # how far is looked ahead before a crossing is entered, and a lane
_STEP_S = 0.25
_CLEAR_M = 1.2
_BESIDE_M = 12.0
_CREEP_M_S = 1.5


class RoadExpert:
    """Pure pursuit (Coulter 1992, CMU-RI-TR-92-01) along a line, with the speed that curves, goals and the
    other cars allow. Before it enters the crossing or another lane it plays both through to the end."""

    def __init__(self, env: RoadEnv) -> None:
        self._env = env

    def act(self) -> np.ndarray:
        """The clean action (speed, steering) for the present state."""
        env = self._env
        waits = env.family.startswith("change") and not self._may_change()
        wanted = env.start_line if waits else env.line
        speed = self._speed(env.car, wanted, env.traffic)
        if waits:
            speed = min(speed, self._behind(env.line))
        if self._must_wait(wanted):
            speed = min(speed, _stopping(self._to_stop_line()))
        return env.clamp(np.array([speed, pursue(env.car, wanted)]))

    def _speed(self, car: Pose, wanted: Line, traffic: list[Traffic]) -> float:
        along = wanted.along(car.axle)
        curve = max(wanted.sharpest(along, 3.0), 1e-3)
        speed = min(CRUISE_M_S, float(np.sqrt(_ACROSS_M_S2 / curve)))
        ahead = max(wanted.sharpest(along, 12.0), 1e-3)
        speed = min(speed, float(np.sqrt(_ACROSS_M_S2 / ahead + 2 * 1.5 * 4.0)))
        if self._env.family == "stop":
            speed = min(speed, _stopping(self._to_stop_line()))
        for other in traffic:
            pose = other.pose
            gap = wanted.along(pose.axle) - along - LENGTH_M
            if -LENGTH_M < gap < 30 and abs(wanted.aside(pose.center)) < 1.8 and _same_way(car, pose):
                speed = min(speed, max(0.0, pose.speed + 0.6 * (gap - 5.0)))
        if self._env.family == "follow":
            speed = min(9.0, max(speed, 0.0))
        return speed

    def _behind(self, wanted: Line) -> float:
        """The speed at which a car that keeps beside us in a lane gets ahead, so that there is a gap."""
        along = wanted.along(self._env.car.axle)
        beside = [
            other.speed
            for other in self._env.traffic
            if abs(wanted.aside(other.pose.center)) < 1.8
            and _same_way(self._env.car, other.pose)
            and abs(wanted.along(other.pose.axle) - along) < _BESIDE_M
        ]
        return max(_CREEP_M_S, min(beside) - 2.0) if beside else np.inf

    def _to_stop_line(self) -> float:
        """How far the nose is before the line to stop at [m]; negative beyond it."""
        x, _ = to_approach(self._env.approach, self._env.car.nose)
        return float(-STOP_LINE_M - 0.8 - x)

    def _must_wait(self, wanted: Line) -> bool:
        """Whether someone would be met in the crossing, and it is not too late to stop before it."""
        env = self._env
        left = self._to_stop_line()
        can_stop = left > -0.6 and left > env.car.speed**2 / (2 * 5.0) - 0.8
        near = left < 25.0
        return near and can_stop and env.family not in ("stop", "follow") and self._meets(wanted, stays=False)

    def _may_change(self) -> bool:
        env = self._env
        if abs(env.line.aside(env.car.axle)) < 0.5 * LANE_M:
            return True
        return not self._meets(env.line, stays=True)

    def _meets(self, wanted: Line, *, stays: bool) -> bool:
        """Whether driving on along a line now would end near another car; they are taken to drive on."""
        env = self._env
        car = env.car
        others = [t for t in env.traffic if t.speed > 0.2 or stays]
        for step in range(int(_AHEAD_S[stays] / _STEP_S)):
            car = drive(car, self._speed(car, wanted, others), pursue(car, wanted), _STEP_S)
            others = [other.moved(_STEP_S, []) for other in others]
            if any(collide(car, other.pose, _CLEAR_M) for other in others):
                return True
            if wanted.along(car.axle) > wanted.length_m - REACH_M + CROSSING_M + 3.0 and step > 2:
                return False
        return False


def pursue(car: Pose, wanted: Line) -> float:
    """The steering angle [rad] of the arc through a point ahead on the line."""
    reach = float(np.clip(0.55 * car.speed + 2.0, 3.0, 9.0))
    target, _ = wanted.at(wanted.along(car.axle) + reach)
    offset = target - car.axle
    bearing = float(np.arctan2(offset[1], offset[0])) - car.heading
    return float(np.arctan2(2 * WHEELBASE_M * np.sin(bearing), max(float(np.linalg.norm(offset)), 1.0)))


def _stopping(distance_m: float) -> float:
    """The speed from which the car still stops within a distance."""
    return 0.0 if distance_m < 0.15 else float(np.sqrt(2 * _BRAKE_M_S2 * distance_m)) * 0.8


def _same_way(car: Pose, other: Pose) -> bool:
    return bool(np.cos(car.heading - other.heading) > 0.3)
