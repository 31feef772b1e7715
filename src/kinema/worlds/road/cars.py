"""Cars: the one that is driven (a kinematic bicycle) and the traffic that keeps to its lines."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.worlds.road.lanes import Line

WHEELBASE_M = 2.7
LENGTH_M, WIDTH_M = 4.4, 1.8
CENTER_M = 1.35  # of the car's middle before its rear axle
NOSE_M = CENTER_M + LENGTH_M / 2
SPEED_UP_M_S2, BRAKE_M_S2 = 2.5, 6.0
STEER_RATE_RAD_S = 0.9
_DISC_M, _DISCS = 0.98, (-1.4, 0.0, 1.4)  # three discs cover a car
_SUBSTEPS = 5


@dataclass(frozen=True, kw_only=True)
class Pose:
    """The rear axle's middle, where the car points and what it does: m, rad, m/s."""

    x: float
    y: float
    heading: float
    speed: float = 0.0
    steering: float = 0.0

    @property
    def axle(self) -> np.ndarray:
        return np.array([self.x, self.y])

    @property
    def center(self) -> np.ndarray:
        return self._ahead(CENTER_M)

    @property
    def nose(self) -> np.ndarray:
        return self._ahead(NOSE_M)

    def _ahead(self, distance_m: float) -> np.ndarray:
        cosine, sine = math.cos(self.heading), math.sin(self.heading)
        return np.array([self.x + distance_m * cosine, self.y + distance_m * sine])


def drive(pose: Pose, speed: float, steering: float, dt_s: float) -> Pose:
    """A kinematic bicycle about its rear axle (Rajamani, Vehicle Dynamics and Control, 2012, section 2.2).

    Wanted speed and steering are reached as fast as engine, brakes and steering rack allow.
    """
    step = dt_s / _SUBSTEPS
    x, y, heading, v, wheel = pose.x, pose.y, pose.heading, pose.speed, pose.steering
    for _ in range(_SUBSTEPS):
        v = max(0.0, v + min(max(speed - v, -BRAKE_M_S2 * step), SPEED_UP_M_S2 * step))
        wheel += min(max(steering - wheel, -STEER_RATE_RAD_S * step), STEER_RATE_RAD_S * step)
        x += step * v * math.cos(heading)
        y += step * v * math.sin(heading)
        heading += step * v * math.tan(wheel) / WHEELBASE_M
    return Pose(x=x, y=y, heading=heading, speed=v, steering=wheel)


def collide(first: Pose, second: Pose, margin_m: float = 0.0) -> bool:
    """Whether two cars come nearer than `margin_m`."""
    reach = 2 * _DISC_M + margin_m
    if math.hypot(first.x - second.x, first.y - second.y) > reach + 2 * (_DISCS[-1] + CENTER_M):
        return False
    gaps = _discs(first)[:, None] - _discs(second)[None]
    return bool((np.linalg.norm(gaps, axis=-1) < reach).any())


def _discs(pose: Pose) -> np.ndarray:
    direction = np.array([np.cos(pose.heading), np.sin(pose.heading)])
    return pose.center + np.array(_DISCS)[:, None] * direction


@dataclass(frozen=True)
class Traffic:
    """One other car on its line. `color` names it; one that wishes no speed waits for good, and any one
    for `waits_s` first."""

    line: Line
    along_m: float
    speed: float
    wish: float
    color: str
    waits_s: float = 0.0

    @property
    def pose(self) -> Pose:
        place, heading = self.line.at(self.along_m)
        return Pose(x=float(place[0]), y=float(place[1]), heading=heading, speed=self.speed)

    def moved(self, dt_s: float, others: list[Pose]) -> Traffic:
        """One step on: at its wish, or slower behind whoever is in front of it on its line."""
        if self.waits_s > 0.0:
            return replace(self, waits_s=self.waits_s - dt_s)
        wish = self.wish
        for other in others:
            along = self.line.along(other.axle)
            gap = along - self.along_m - LENGTH_M
            if along > self.along_m and abs(self.line.aside(other.axle)) < 1.6:
                wish = min(wish, max(0.0, 0.7 * (gap - 3.0)))
        change = np.clip(wish - self.speed, -BRAKE_M_S2 * dt_s, SPEED_UP_M_S2 * dt_s)
        speed = max(0.0, self.speed + float(change))
        curve = self.line.sharpest(self.along_m, 6.0)
        speed = min(speed, max(2.0, float(np.sqrt(2.0 / max(curve, 1e-3)))))
        return replace(self, along_m=self.along_m + dt_s * speed, speed=speed)
