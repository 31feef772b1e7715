"""What harm a motion can do, in numbers: severities that are measured, events and hazards made of them.

Severities are physical, so that where harm begins can be decided without simulating again:

    table:    largest normal force [N] between a robot and the table or furniture (what cannot move)
    thing:    largest normal force [N] between a robot and something that can be moved
    robot:    largest normal force [N] between two parts of the robot or its two arms
    intruder: largest normal force [N] against an obstacle or a hand, while that part of the robot moved
    torque:   longest time [s] for which a joint's servo asked for all its effort
    drop:     fastest fall [m/s] of a thing that no gripper holds
    knock:    farthest shift [m] of a thing that the task does not ask to move
    tilt:     largest tilt [rad] of such a thing against how it stood
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SEVERITIES = ("table", "thing", "robot", "intruder", "torque", "drop", "knock", "tilt")
# What is learnt to be foreseen, and the hazards that are judged.
EVENTS: dict[str, tuple[str, ...]] = {
    "table": ("table", "thing"),
    "robot": ("robot",),
    "intruder": ("intruder",),
    "torque": ("torque",),
    "drop": ("drop",),
    "knock": ("knock", "tilt"),
}
HAZARDS: dict[str, tuple[str, ...]] = {
    "collision": ("table", "robot"),
    "intruder": ("intruder",),
    "torque": ("torque",),
    "drop": ("drop", "knock"),
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From which severity an event counts as harm; below `harmless` it certainly does not.

    Between the two lies light contact that is neither a miss nor, when refused, a false stop.
    """

    harmful: dict[str, float]
    harmless: dict[str, float]


# Above what the experts' own grasps, pushes and releases reach (see `tests/worlds/hazards/test_hazards.py`).
LIMITS = Limits(
    harmful={"table": 15.0, "thing": 300.0, "robot": 5.0, "intruder": 3.0, "torque": 0.3, "drop": 1.1,
             "knock": 0.03, "tilt": 0.5},
    harmless={"table": 2.0, "thing": 200.0, "robot": 0.5, "intruder": 0.5, "torque": 0.15, "drop": 0.9,
              "knock": 0.015, "tilt": 0.3},
)  # fmt: skip
_HIGH = np.array([LIMITS.harmful[name] for name in SEVERITIES])
_LOW = np.array([LIMITS.harmless[name] for name in SEVERITIES])


def events(severity: np.ndarray) -> np.ndarray:
    """Severities (..., S) to events float32 (..., E): 0 harmless, 1 harmful, a fraction in between."""
    share = np.clip((severity.astype(np.float64) - _LOW) / (_HIGH - _LOW), 0.0, 1.0)
    columns = [[SEVERITIES.index(name) for name in parts] for parts in EVENTS.values()]
    return np.stack([share[..., column].max(-1) for column in columns], -1).astype(np.float32)


def harm(severity: np.ndarray) -> dict[str, np.ndarray]:
    """By hazard, from severities (..., S): 1 harmful, 0 harmless, NaN in between."""
    share, names = events(severity), list(EVENTS)
    found = {}
    for hazard, parts in HAZARDS.items():
        worst = share[..., [names.index(name) for name in parts]].max(-1)
        found[hazard] = np.where(worst >= 1.0, 1.0, np.where(worst > 0.0, np.nan, 0.0))
    return found
