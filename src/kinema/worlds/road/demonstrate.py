"""One drive, recorded: the driver's clean action beside the disturbed one that was carried out."""

from __future__ import annotations

import numpy as np

from kinema.worlds.recording import Recording, record
from kinema.worlds.road.env import RoadEnv
from kinema.worlds.road.expert import RoadExpert

_LINGER_S = 0.5  # after success
_STRETCH_S, _CALM_S = 0.8, 2.5  # mean lengths of what is disturbed and what is not
_SPREAD = np.array([0.8, 0.05])  # m/s, rad


class _Pushes:
    """Draws what disturbs one drive, step by step; `noise` scales it."""

    def __init__(self, env: RoadEnv, noise: float, rng: np.random.Generator) -> None:
        self._env, self._noise, self._rng = env, noise, rng
        self._push, self._left = np.zeros(2), 0

    def apply(self, action: np.ndarray) -> np.ndarray:
        """The action to carry out (2,) instead of the clean one."""
        if self._left == 0 and self._rng.random() < 1 / (_CALM_S * self._env.card.control_hz):
            self._left = 1 + int(self._rng.geometric(1 / (_STRETCH_S * self._env.card.control_hz)))
            self._push = self._noise * _SPREAD * self._rng.standard_normal(2)
        if self._left == 0:
            return action
        self._left -= 1
        return self._env.clamp(action + self._push)


def demonstrate_road(env: RoadEnv, seed: int, *, noise: float = 1.0, render: bool = True) -> Recording:
    """Let the driver drive one episode; `noise` scales what disturbs it, in stretches (0 for none)."""
    env.reset(seed)
    pushes = _Pushes(env, noise, np.random.default_rng([seed, 0x6E6F69]))
    return record(
        env,
        RoadExpert(env).act,
        pushes.apply,
        linger=round(_LINGER_S * env.card.control_hz),
        over=env.over,
        render=render,
    )
