"""Notices a camera that has stopped: one that goes on delivering the last picture it took.

Two signs count, each for longer than the card's `motion.frozen_after_s`:

- the driver says when each picture was taken (`PICTURE_TIMES` among the sensors), and that time stands still;
- it does not say so, the picture is the same in every byte, and meanwhile what the camera is mounted on has
  moved: the arm whose link carries it, the torso below, or the base. A camera that is fixed in the world, or
  on the torso while an arm moves, sees less of a motion, so the body must have moved further.

A real camera has noise and never takes the same picture twice. A simulated one does, of a scene in which
nothing moves, and of a body that moves outside its view; hence the distances.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np

from kinema.card.card import Camera, EmbodimentCard
from kinema.schema import Observation

TAKEN = "taken_s"  # what a robot adds to a camera's key to say when its picture was taken
PICTURE_TIMES = "picture_time_s"  # sensor (C,): when the cameras' pictures were taken, in the card's order
MOVED_SHARE, MOVED_RAD = 0.05, 0.1  # of a channel's range, and of an angle however wide its range
FIXED_TIMES = 4.0  # as far, for a camera that is fixed in the world


class StillCameras:
    """Watches one body's cameras. `reset` when a run begins."""

    def __init__(self, card: EmbodimentCard) -> None:
        self._names, self._after_s = card.camera_names, card.motion.frozen_after_s
        self._far = {camera.name: _far_enough(card, camera) for camera in card.cameras}
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
        moved = moved or bool((np.abs(state - where) > self._far[name]).any())
        self._same[name] = (before, since_s, where, moved)
        return (stamped or moved) and now_s - since_s > self._after_s


def _far_enough(card: EmbodimentCard, camera: Camera) -> np.ndarray:
    """By how much each state (S,) must change for the camera to see it; infinite where it need not see it.

    Grippers and hands need not be in view.
    """
    carrier = camera.mount.split(":")[0]  # "world", "base", "torso", "left" or "right"
    carriers = (carrier, "torso") if carrier in ("left", "right") else (carrier,)
    far = []
    for channel in card.states:
        part, kind = channel.slot.split(".")[:2]
        part = "torso" if kind == "waist" else part
        share = MOVED_SHARE * (channel.range[1] - channel.range[0])
        enough = min(share, MOVED_RAD) if channel.unit == "rad" else share
        times = 1.0 if part in carriers else FIXED_TIMES if carrier in ("world", "torso") else np.inf
        far.append(np.inf if kind in ("gripper", "hand") else enough * times)
    return np.array(far)
