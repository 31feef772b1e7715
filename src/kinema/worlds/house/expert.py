"""A walker without memory that knows the shortest way from wherever it is, and stops at its end."""

from __future__ import annotations

import numpy as np

from kinema.worlds.house.env import HouseEnv

_ARRIVED_M = 0.25
_BEHIND_M = 1.0  # this far behind whoever is followed
_TURN_FIRST_RAD = 0.9


class HouseExpert:
    """Turns towards the furthest point of the shortest way that lies straight ahead, then goes there."""

    def __init__(self, env: HouseEnv) -> None:
        self._env = env
        self._units = np.array([channel.step or 1.0 for channel in env.card.actions])
        self._most = np.array([channel.range[1] for channel in env.card.actions]) * self._units

    def act(self) -> np.ndarray:
        """The clean action (dx, dy, dtheta) for the present state."""
        env = self._env
        if env.person is None:
            if env.distances_m[-1] < _ARRIVED_M:
                return np.zeros(3)
            ahead = env.ahead()
            return self._to(ahead, look_at=ahead, reach_m=self._most[0])
        ahead, person = env.ahead(), env.person[:2]
        seen = env.sight.sees(env.pose[:2], person)
        reach_m = float(np.linalg.norm(person - env.pose[:2])) - _BEHIND_M if seen else self._most[0]
        watches = seen and (reach_m <= 0 or abs(self._bearing(ahead)) < _TURN_FIRST_RAD)
        return self._to(ahead, look_at=person if watches else ahead, reach_m=max(0.0, reach_m))

    def _to(self, place: np.ndarray, *, look_at: np.ndarray, reach_m: float) -> np.ndarray:
        """At most `reach_m` straight to a place that is ahead or a little aside, turning to see another."""
        bearing = self._bearing(place)
        far_m = min(reach_m, self._most[0], float(np.linalg.norm(place - self._env.pose[:2])))
        if abs(bearing) > _TURN_FIRST_RAD:
            far_m = 0.0
        aside_m = far_m * np.sin(bearing)
        if abs(aside_m) > self._most[1]:  # no base steps aside any further
            far_m *= self._most[1] / abs(aside_m)
        action = np.array([far_m * np.cos(bearing), far_m * np.sin(bearing), self._bearing(look_at)])
        return self._env.clamp(action / self._units)

    def _bearing(self, place: np.ndarray) -> float:
        """Where a place (2,) lies as the base sees it [rad]; 0 where it stands."""
        x, y = place - self._env.pose[:2]
        if x == y == 0.0:
            return 0.0
        return float((np.arctan2(y, x) - self._env.pose[2] + np.pi) % (2 * np.pi) - np.pi)
