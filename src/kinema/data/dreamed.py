"""Dreams as training data: imagined films with the actions read from them, and which of them to leave out.

Axes: F pictures, V views, N control steps between two pictures, T = (F - 1) * N rows of an episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import joints_by_slot
from kinema.schema import Film
from kinema.space.motion import Motion, intervals_of_motion

DREAMED = "dreamed"  # the column that says so in every row


@dataclass(frozen=True, kw_only=True)
class DreamLimits:
    """What a dream may be.

    drift:     most that two readings of the film may lie apart, on average, in half widths of the statistics
    reach_m:   how far outside the card's workspace a tool may seem to be
    speed_m_s: of a tool (the tabletop demonstrations reach 0.8); joints are held to their card's own speeds
    least_m:   shortest way of a tool, or of the farthest joint in rad, that counts as doing something
    """

    drift: float = 0.12
    reach_m: float = 0.02
    speed_m_s: float = 0.9
    least_m: float = 0.05


def faults(motion: Motion, card: EmbodimentCard, limits: DreamLimits) -> tuple[str, ...]:
    """Why a dream is not to be learnt from; empty when there is no reason."""
    found = []
    drift = float(motion.drift.mean())
    if drift > limits.drift:
        found.append(f"two readings differ by {drift:.2f}, more than {limits.drift:g}")
    for arm in card.arms:
        place = [i for i, c in enumerate(card.states) if c.slot.startswith(f"{arm.side}.ee.")]
        if place:
            found += _tool_faults(motion, card, place, limits)
    joints = joints_by_slot(card)
    for i, channel in enumerate(card.states):
        joint = joints.get(channel.slot)
        if joint is not None and _speed(motion, [i]).max(initial=0.0) > 1.1 * joint.velocity:
            found.append(f"{channel.name} would be faster than its {joint.velocity:g} rad/s")
    moving = [i for i, channel in enumerate(card.states) if channel.unit in ("m", "rad")]
    if np.ptp(motion.states[:, moving], axis=0).max(initial=0.0) < limits.least_m:
        found.append("nothing moves")
    return tuple(found)


def _tool_faults(motion: Motion, card: EmbodimentCard, place: list[int], limits: DreamLimits) -> list[str]:
    found = []
    low, high = np.array(card.workspace_m).T
    outside = np.maximum(low - motion.states[:, place], motion.states[:, place] - high).max()
    if outside > limits.reach_m:
        found.append(f"the tool would be {outside:.3f} m outside the workspace")
    if (speed := _speed(motion, place).max(initial=0.0)) > limits.speed_m_s:
        found.append(f"the tool would move at {speed:.2f} m/s")
    return found


def _speed(motion: Motion, channels: list[int]) -> np.ndarray:
    return np.linalg.norm(np.diff(motion.states[:, channels], axis=0), axis=1) * motion.fps


def episode(film: Film, motion: Motion, *, points: np.ndarray | None = None) -> dict[str, Any]:
    """The dream as the writer wants it, up to where it comes to rest.

    Between two pictures the earlier one is repeated: windows must begin at every `motion.steps`-th row only,
    which is what `from_dataset(..., stride=motion.steps)` does.

    points: pointing labels (F, V, P, 3) of the pictures, where somebody has found them
    """
    N = motion.steps
    used = intervals_of_motion(film.frames) * N
    rows = np.arange(used)
    share = (rows % N / N)[:, None]
    before = rows // N
    state = motion.states[before] * (1 - share) + motion.states[before + 1] * share
    arrays: dict[str, Any] = {
        "images": {name: film.frames[before, v] for v, name in enumerate(film.cameras)},
        "state": state,
        "action": motion.actions[:used],
        "executed": motion.actions[:used],
        "task": film.instruction,
        "success": rows == used - 1,
        "extra": {DREAMED: np.ones((used, 1), np.float32)},
    }
    if points is not None:
        arrays["points"] = points[before]
    return arrays
