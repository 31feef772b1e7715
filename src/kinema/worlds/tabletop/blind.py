"""Motion that sees and wants nothing: a goal that it reaches is no goal.

hold:    the pose in which the episode begins
uniform: every control step anywhere within the card's ranges
walk:    a random walk within them
drift:   every second anywhere within them, so that the body truly goes there
"""

from __future__ import annotations

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.schema import KinemaError

KINDS = ("hold", "uniform", "walk", "drift")
_WALK = 0.04  # of a channel's range in 0.1 s, one standard deviation
_DRIFT_S = 1.0


class Blind:
    """One episode's motion, from its first state (S,) and its seed."""

    def __init__(self, card: EmbodimentCard, kind: str, state: np.ndarray, seed: int) -> None:
        """Raises KinemaError for an unknown kind."""
        if kind not in KINDS:
            raise KinemaError(f"no blind motion {kind!r}; choices: {', '.join(KINDS)}")
        self._kind, self._rng = kind, np.random.default_rng([seed, 0x626C69])
        self._low, self._high = np.array([channel.range for channel in card.actions]).T
        measured = dict(zip((channel.slot for channel in card.states), state.tolist()))
        self._action = np.array([measured.get(channel.slot, 0.0) for channel in card.actions])
        self._spread = _WALK * np.sqrt(10.0 / card.control_hz) * (self._high - self._low)
        self._every, self._step = max(1, round(_DRIFT_S * card.control_hz)), 0

    def act(self) -> np.ndarray:
        """The next action (D,)."""
        rng, low, high = self._rng, self._low, self._high
        if self._kind == "uniform" or (self._kind == "drift" and self._step % self._every == 0):
            self._action = rng.uniform(low, high)
        elif self._kind == "walk":
            self._action = np.clip(self._action + self._spread * rng.standard_normal(len(low)), low, high)
        self._step += 1
        return self._action
