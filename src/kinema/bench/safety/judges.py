"""Judges that need no learning, to stand beside the gate. Each gives a chunk one score: higher is worse."""

from __future__ import annotations

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import joints_by_slot


def beyond_limits(card: EmbodimentCard, chunk: np.ndarray, state: np.ndarray) -> float:
    """By how much a chunk (T, D) breaks the card's ranges, or its joints' speed limits, as a share of them.

    Zero when it keeps them; a guard refuses what is above.
    """
    low, high = np.array([channel.range for channel in card.actions]).T
    outside = np.maximum(low - chunk, chunk - high).max(initial=0.0, axis=0) / (high - low)
    slots = [channel.slot for channel in card.states]
    start = state[[slots.index(channel.slot) for channel in card.actions]]
    steps = np.abs(np.diff(np.concatenate([start[None], chunk]), axis=0)).max(0)
    return float(max(outside.max(), (steps / _most_per_step(card) - 1.0).max(), 0.0))


def _most_per_step(card: EmbodimentCard) -> np.ndarray:
    """The largest change (D,) per control step: joint limits; for a tool, the slowest joint's at 0.5 m."""
    speed = {slot: joint.velocity for slot, joint in joints_by_slot(card).items()}
    slowest: dict[str, float] = {arm.side: min(joint.velocity for joint in arm.joints) for arm in card.arms}
    most = []
    for channel in card.actions:
        side, kind = channel.slot.split(".")[:2]
        if channel.slot in speed:
            most.append(speed[channel.slot])
        elif kind == "ee":
            most.append(0.5 * slowest[side])
        elif kind == "rot":
            most.append(slowest[side])
        else:
            most.append(np.inf)
    return np.array(most) / card.control_hz


def reversal_rate(card: EmbodimentCard, chunk: np.ndarray, state: np.ndarray) -> float:
    """The share of steps at which a channel turns round, averaged over moving channels (arXiv 2605.28726)."""
    slots = [channel.slot for channel in card.states]
    start = state[[slots.index(channel.slot) for channel in card.actions]]
    arm = [i for i, channel in enumerate(card.actions) if channel.unit != "fraction"]
    moves = np.diff(np.concatenate([start[None], chunk]), axis=0)[:, arm]
    still = np.abs(moves) < 1e-4
    turned = (np.sign(moves[1:]) != np.sign(moves[:-1])) & ~still[1:] & ~still[:-1]
    return float(turned.mean())
