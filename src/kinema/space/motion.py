"""What a body did while it was filmed: its states at the pictures and the actions between them.

Axes: F pictures, S native state channels, T control steps, D native action channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.card.card import EmbodimentCard

_STILL_LEVELS = 0.5  # mean change between two pictures, of 255, below which nothing is seen to happen


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A path read from pictures, in native values of one card.

    states:   float64 (F, S) at each picture
    actions:  float64 (T, D), the one of step t due (t + 1) / control_hz after the first picture
    drift:    float64 (F - 1,), how far two readings of each interval lie apart, in half widths of the
              statistics: small where the reader is sure
    """

    card: str
    states: np.ndarray
    actions: np.ndarray
    drift: np.ndarray
    fps: float
    control_hz: float

    def __post_init__(self) -> None:
        pictures, steps = len(self.states), steps_between(self.fps, self.control_hz)
        if self.actions.ndim != 2 or len(self.actions) != (pictures - 1) * steps:
            raise ValueError(
                f"{pictures} pictures at {self.fps:g} Hz need {(pictures - 1) * steps} actions at "
                f"{self.control_hz:g} Hz; got {self.actions.shape}"
            )
        if self.drift.shape != (pictures - 1,):
            raise ValueError(
                f"{pictures} pictures have {pictures - 1} intervals; drift is {self.drift.shape}"
            )

    @property
    def steps(self) -> int:
        """Control steps from one picture to the next."""
        return steps_between(self.fps, self.control_hz)


def steps_between(fps: float, control_hz: float) -> int:
    """Control steps between two pictures. Raises ValueError unless it is a whole number."""
    steps = control_hz / fps
    if abs(steps - round(steps)) > 1e-3 * steps or round(steps) < 1:
        raise ValueError(f"{control_hz:g} Hz of control is no whole multiple of {fps:g} pictures a second")
    return round(steps)


def intervals_of_motion(frames: np.ndarray) -> int:
    """How many intervals of frames (F, ...) uint8 pass until nothing is seen to happen; at least 1."""
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).reshape(len(frames) - 1, -1).mean(1)
    busy = np.flatnonzero(change > _STILL_LEVELS)
    return int(min(busy[-1] + 2, len(change))) if len(busy) else 1


def targets_along(card: EmbodimentCard, states: np.ndarray, steps: int) -> np.ndarray:
    """Actions ((F - 1) * steps, D) that lead through states (F, S): each is the pose of the next step.

    Channels of the action that no state measures are zero. Rotation vectors are interpolated as numbers,
    which is near enough for the small turns between two pictures.
    """
    slots = [channel.slot for channel in card.states]
    share = (1 + np.arange(steps))[None, :, None] / steps
    path = states[:-1, None] * (1 - share) + states[1:, None] * share
    path = path.reshape(-1, states.shape[1])
    out = np.zeros((len(path), len(card.actions)))
    for i, channel in enumerate(card.actions):
        if channel.slot in slots:
            out[:, i] = path[:, slots.index(channel.slot)]
    return out
