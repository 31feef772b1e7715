"""A chunk for clients that know no times: one action after another, at the rate at which they play them.

openpi's runtimes send the rows of an answer one by one at a rate of their own. So the rows are made for that
rate: targets are interpolated by time, from where the body stands; what is no pose (a gripper's opening, a
speed) stays as it was asked for until the next is due. Then the card's ranges and speeds are held at that
rate. That is all: workspace, torque and how far the body lags are known only where the body is, and openpi's
clients have no guard (`runtime/guard.py`) there.
"""

from __future__ import annotations

import math

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.runtime.guard import Guard
from kinema.runtime.limits import limits_of
from kinema.runtime.policy import hold_action
from kinema.schema import ActionChunk, KinemaError, Observation
from kinema.space.rotation import composed

LEAST_HZ, MOST_HZ = 1.0, 200.0
_ROUNDING_S = 1e-9


class Playback:
    """The rows of one body at one rate. guard: whether the card's limits are held here, on the server."""

    def __init__(self, card: EmbodimentCard, hz: float, *, guard: bool) -> None:
        self.card, self.hz = card, hz
        self._limits, self._guard = limits_of(card), Guard(card) if guard else None
        self._motions = self._limits.motions if card.hold.action != "zero" else ()

    @property
    def rows(self) -> int:
        """How many rows a whole chunk of the card has at this rate."""
        return max(1, math.floor(self.card.chunk / self.card.control_hz * self.hz + 1e-6))

    def actions(self, seen: Observation, chunk: ActionChunk) -> np.ndarray:
        """float64 (N, D): what to send 1/hz, 2/hz, ... after the observation.

        Raises KinemaError where the guard cannot start from the measured state.
        """
        due_s = chunk.times_s - seen.time_s
        times_s = np.arange(1, max(1, math.floor(due_s[-1] * self.hz + 1e-6)) + 1) / self.hz
        rows = self._resampled(seen.state, chunk.values, due_s, times_s)
        if self._guard is not None:
            self._guard.anchor(seen.state)  # refuses a state from which no run may begin
            self._limit(seen.state, rows)
        return rows

    def hold(self, seen: Observation) -> np.ndarray:
        """As many rows of doing nothing as a chunk has."""
        return np.tile(hold_action(self.card, seen.state), (self.rows, 1))

    def _resampled(
        self, state: np.ndarray, values: np.ndarray, due_s: np.ndarray, times_s: np.ndarray
    ) -> np.ndarray:
        following = np.minimum(np.searchsorted(due_s, times_s - _ROUNDING_S), len(due_s) - 1)
        rows = np.array(values[following])
        try:
            start = hold_action(self.card, state)
        except KinemaError:  # where it stands is not measured: the first target counts from the beginning
            start = values[0]
        before = np.concatenate([start[None], values])[following]
        began_s = np.concatenate([[0.0], due_s])[following]
        share = np.clip((times_s - began_s) / np.maximum(due_s[following] - began_s, _ROUNDING_S), 0.0, 1.0)
        for i in np.flatnonzero(share < 1 - 1e-6) if self._motions else ():
            for motion in self._motions:
                columns, turn = list(motion.columns), list(motion.turn)
                step = values[following[i]] - before[i]
                rows[i, columns] = (before[i] + share[i] * step)[columns]
                if turn:
                    rows[i, turn] = _turned(before[i, turn], values[following[i], turn], share[i])
        return rows

    def _limit(self, state: np.ndarray, rows: np.ndarray) -> None:
        """Each row within the card's ranges, and no further from the one before than its joints may go."""
        np.clip(rows, self._limits.low, self._limits.high, out=rows)
        last = hold_action(self.card, state)
        for row in rows if self._motions else ():
            for motion in self._motions:
                columns, turn = list(motion.columns), list(motion.turn)
                step = motion.joints_per @ motion.between(last, row)
                share = float((motion.speed / self.hz / np.maximum(np.abs(step), 1e-12)).min())
                if share < 1.0:
                    far = row[turn] if turn else None
                    row[columns] = last[columns] + share * (row[columns] - last[columns])
                    if far is not None:
                        row[turn] = _turned(last[turn], far, share)
            last = row


def _turned(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """The rotation vector that is this share of the way on, about one axis."""
    return composed(start, share * composed(-start, end))
