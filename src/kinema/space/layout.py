"""The unified action space, version 1: K = 80 named slots shared by all bodies.

    left arm 29 | right arm 29 | base 22

An arm block holds 7 joints, 3 end-effector positions, 6 rotation values, 1 gripper and 12 hand values.
Two layouts of different versions never mix: an artifact names the version it was trained with.
"""

from __future__ import annotations

from difflib import get_close_matches

LAYOUT_VERSION = 1

_ARM = (
    [f"joint.{i}" for i in range(7)]
    + [f"ee.{axis}" for axis in "xyz"]
    + [f"rot.{i}" for i in range(6)]
    + ["gripper"]
    + [f"hand.{i}" for i in range(12)]
)
_BASE = (
    ["waypoint.x", "waypoint.y", "waypoint.theta"]
    + ["velocity.x", "velocity.y", "velocity.theta"]
    + [f"waist.{i}" for i in range(3)]
    + [f"head.{i}" for i in range(3)]
    + ["image.u", "image.v"]
    + [f"spare.{i}" for i in range(8)]
)

SLOTS: tuple[str, ...] = tuple(
    [f"left.{s}" for s in _ARM] + [f"right.{s}" for s in _ARM] + [f"base.{s}" for s in _BASE]
)
NUM_SLOTS = len(SLOTS)
_INDEX = {slot: i for i, slot in enumerate(SLOTS)}


def slot_index(slot: str) -> int:
    """Index of a named slot in [0, NUM_SLOTS). Raises KeyError naming the nearest slots."""
    try:
        return _INDEX[slot]
    except KeyError:
        near = get_close_matches(slot, SLOTS, n=3) or list(SLOTS[:3])
        raise KeyError(f"unknown slot {slot!r}; nearest: {near}; layout version {LAYOUT_VERSION}") from None
