"""Notices a camera that has stopped: one that goes on delivering the last picture it took.

Two signs count, each for longer than the card's `motion.frozen_after_s`:

- the driver says when each picture was taken (`PICTURE_TIMES` among the sensors), and that time stands still;
- it does not say so, the picture is the same in every byte, and meanwhile the body has moved by a share of
  some channel's range, or an angle by a tenth of a radian. A camera has noise, and a body that moves is seen
  by its cameras; a scene in which nothing moves may look the same for ever, in a simulation in every byte.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.schema import Observation

PICTURE_TIMES = "picture_time_s"  # sensor (C,): when the cameras' pictures were taken, in the card's order
MOVED_SHARE = 0.05  # of a channel's range; grippers and hands do not count, a camera may not see them
MOVED_RAD = 0.1  # enough for an angle, however wide its range


class StillCameras:
    """Watches one body's cameras. `reset` when a run begins."""

    def __init__(self, card: EmbodimentCard) -> None:
        self._names, self._after_s = card.camera_names, card.motion.frozen_after_s
        spans = np.array([channel.range[1] - channel.range[0] for channel in card.states])
        hands = [channel.slot.split(".")[1] in ("gripper", "hand") for channel in card.states]
        enough = [MOVED_RAD if channel.unit == "rad" else np.inf for channel in card.states]
        self._moved = np.where(hands, np.inf, np.minimum(MOVED_SHARE * spans, enough))
        self.reset()

    def reset(self) -> None:
        self._same: dict[str, tuple[float, float, np.ndarray, bool]] = {}

    def stopped(self, observation: Observation, now_s: float) -> str:
        """Which cameras have stopped, in a sentence; "" when none has."""
        times_s = observation.sensors.get(PICTURE_TIMES)
        frozen = []
        for i, name in enumerate(self._names):
            taken_s = np.nan if times_s is None else float(times_s[i])
            picture = observation.images.get(name)
            if picture is None:
                continue
            stamped = bool(np.isfinite(taken_s))
            sign = taken_s if stamped else float(crc32(np.ascontiguousarray(picture).data))
            if self._stands_still(name, sign, stamped, observation.state, now_s):
                frozen.append(name)
        if not frozen:
            return ""
        return f"camera {', '.join(frozen)} delivers the same picture for {self._after_s:g} s: holding"

    def _stands_still(self, name: str, sign: float, stamped: bool, state: np.ndarray, now_s: float) -> bool:
        before, since_s, where, moved = self._same.get(name, (np.nan, now_s, state, False))
        if sign != before:
            self._same[name] = (sign, now_s, state.copy(), False)
            return False
        moved = moved or bool((np.abs(state - where) > self._moved).any())
        self._same[name] = (before, since_s, where, moved)
        return (stamped or moved) and now_s - since_s > self._after_s
