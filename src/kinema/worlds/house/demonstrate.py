"""One errand, recorded: the expert's clean action beside the disturbed one that was carried out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kinema.worlds.house.env import HouseEnv
from kinema.worlds.house.expert import HouseExpert
from kinema.worlds.recording import Recording, record

_STRETCH, _CALM = 2.0, 6.0  # mean steps of what is disturbed and what is not
_SPREAD = np.array([0.3, 0.3, 0.6])  # of the card's units
_LINGER = 4  # steps after success: what standing still looks like


def demonstrate_house(
    env: HouseEnv, seed: int, *, noise: float = 1.0, render: bool = True,
    prelude: Callable[[HouseEnv], None] | None = None,
) -> Recording:  # fmt: skip
    """Let the expert do one errand; `noise` scales what disturbs it, in stretches (0 for none).

    `prelude` may act first, unrecorded; what has stopped for good by then is no demonstration.
    """
    env.reset(seed)
    if prelude is not None:
        prelude(env)
    rng = np.random.default_rng([seed, 0x6E6F69])
    push, left = np.zeros(3), 0

    def disturb(action: np.ndarray) -> np.ndarray:
        """Standing still is left alone: it is how the errand ends."""
        nonlocal push, left
        if left == 0 and rng.random() < 1 / _CALM:
            left = 1 + int(rng.geometric(1 / _STRETCH))
            push = noise * _SPREAD * rng.standard_normal(3)
        if left == 0 or not action.any():
            return action
        left -= 1
        return env.clamp(action + push)

    def failed() -> bool:
        return env.over() and not env.success()

    return record(env, HouseExpert(env).act, disturb, linger=_LINGER, over=failed, render=render)
