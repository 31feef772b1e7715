"""What a gate remembers of one session: earlier pictures, and the way the body came.

When nothing that the policy proposes is allowed, a body that only holds may stand there for ever: the policy
sees the same and proposes the same. The way it came was free a moment ago, and from farther back there is
another way to go on.

Axes: T steps, D action channels, S state channels.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.schema import ActionChunk, Observation

EARLIER_S = 0.2  # how old the earlier picture is that shows what moves
PATIENCE_S = 0.3  # how long nothing may be allowed before the body goes back
_PICTURES = 16  # 0.2 s and more at 60 questions a second
_PLACES = 256
_APART = 0.01  # m or rad between two places: less is standing, and that is no way
_SHORTER = (8, 4, 2)  # steps of the ways that end sooner, where the whole one is not allowed
_LONGEST_S = 0.5  # between two places: a longer silence says nothing about the speed


class Memory:
    """Of one body in one episode. `see` every observation in turn; a clock that goes back begins anew."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._pictures: deque[tuple[float, np.ndarray]] = deque(maxlen=_PICTURES)
        self._places: deque[tuple[float, np.ndarray]] = deque(maxlen=_PLACES)  # seconds along the way, state
        self._now_s = -np.inf
        self._refused_since_s: float | None = None
        self._returning = False

    def see(self, observation: Observation, picture: np.ndarray | None = None) -> np.ndarray | None:
        """Remember an observation; returns the first camera's picture from EARLIER_S before, if one is known.

        picture: what to keep instead of the first camera's picture as it is, such as a smaller one
        """
        now_s = observation.time_s
        if now_s < self._now_s:
            self.clear()
        self._add_place(np.asarray(observation.state, np.float64), now_s)
        self._now_s = now_s
        if picture is None:
            picture = next(iter(observation.images.values()), None)
        ages = [abs(now_s - time_s - EARLIER_S) for time_s, _ in self._pictures]
        earlier = None
        if ages and min(ages) <= EARLIER_S / 2:
            earlier = self._pictures[int(np.argmin(ages))][1]
        if picture is not None:
            self._pictures.append((now_s, picture))
        return earlier

    def judged(self, allowed: bool) -> None:
        """What became of the policy's proposals for the present observation."""
        if allowed:
            self._refused_since_s, self._returning = None, False
        elif self._refused_since_s is None:
            self._refused_since_s = self._now_s

    @property
    def is_stuck(self) -> bool:
        """Whether nothing has been allowed for too long."""
        return self._refused_since_s is not None and self._now_s - self._refused_since_s >= PATIENCE_S - 1e-6

    def ways_back(
        self, card: EmbodimentCard, observation: Observation, first: np.ndarray
    ) -> list[ActionChunk]:
        """Chunks along the places that the body came through, newest first; the farthest way is the first.

        first: the action (D,) that the policy would take now; hands and grippers do as that says
        """
        slots = [channel.slot for channel in card.states]
        if len(self._places) < 2 or any(channel.slot not in slots for channel in card.actions):
            return []
        columns = [slots.index(channel.slot) for channel in card.actions]
        along_s = np.array([at for at, _ in self._places])
        places = np.array([state for _, state in self._places])[:, columns]  # (N, D)
        back_s = (1 + np.arange(card.chunk)) / card.control_hz
        grips = np.array(["gripper" in c.slot or "hand" in c.slot for c in card.actions])
        chunks = []
        for steps in (card.chunk, *_SHORTER):
            at_s = np.clip(along_s[-1] - np.minimum(back_s, back_s[steps - 1]), along_s[0], None)
            values = np.stack([np.interp(at_s, along_s, column) for column in places.T], -1)
            values = np.where(grips, first, values)
            chunks.append(ActionChunk(values=values, times_s=observation.time_s + back_s, card=card.name))
        return chunks

    def returns(self) -> None:
        """The body is going back: places that it has left behind on the way are forgotten."""
        self._returning = True

    def _add_place(self, state: np.ndarray, now_s: float) -> None:
        if self._returning and self._places:
            away = [float(np.abs(place - state).max()) for _, place in self._places]
            for _ in range(len(away) - 1 - int(np.argmin(away))):
                self._places.pop()
            return
        before_s = self._places[-1][0] if self._places else 0.0
        passed_s = min(now_s - self._now_s, _LONGEST_S) if self._places else 0.0
        if not self._places or np.abs(self._places[-1][1] - state).max() >= _APART:
            self._places.append((before_s + passed_s, state))
