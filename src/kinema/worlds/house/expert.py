"""A walker without memory that knows the shortest way from wherever it is, and stops at its end."""

from __future__ import annotations

import numpy as np

from kinema.worlds.house.env import HouseEnv

_ARRIVED_M = 0.25
_BEHIND_M = 1.3  # this far behind whoever is followed
_TURN_FIRST_RAD = 0.7


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
            return self._towards(env.ahead(), reach_m=self._most[0])
        gap_m = float(np.linalg.norm(env.person[:2] - env.pose[:2]))
        if gap_m < _BEHIND_M + 0.2 and env.sight.sees(env.pose[:2], env.person[:2]):
            return self._towards(env.person[:2], reach_m=0.0)
        return self._towards(env.ahead(), reach_m=min(self._most[0], max(0.1, gap_m - _BEHIND_M)))

    def _towards(self, place: np.ndarray, reach_m: float) -> np.ndarray:
        pose = self._env.pose
        offset = place - pose[:2]
        bearing = float(np.arctan2(offset[1], offset[0])) - pose[2]
        bearing = (bearing + np.pi) % (2 * np.pi) - np.pi
        far_m = min(reach_m, float(np.linalg.norm(offset))) if abs(bearing) < _TURN_FIRST_RAD else 0.0
        turn = np.clip(bearing, -self._most[2], self._most[2])
        aside = far_m * np.sin(bearing)
        if abs(aside) > self._most[1]:  # no base steps aside any further
            far_m *= self._most[1] / abs(aside)
        return self._env.clamp(np.array([far_m * np.cos(bearing), far_m * np.sin(bearing), turn]) / self._units)
