"""Conventions and bodies as Markdown tables, read off the code so that no document can drift from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from kinema.card.card import Channel, Gripper, Link
from kinema.card.load import card_names, load_card
from kinema.space.layout import LAYOUT_VERSION, NUM_SLOTS, SLOTS


def conventions() -> str:
    """Units, orders, signs and the unified space."""
    units = ", ".join(get_args(Channel.model_fields["unit"].annotation))
    references = " or ".join(f"`{name}`" for name in get_args(Channel.model_fields["reference"].annotation))
    quaternion = next(name for name in Link.model_fields if name.startswith("quat_")).removeprefix("quat_")
    closed, opened = [name for name in Gripper.model_fields if name in ("closed", "open")]
    blocks = {side: sum(slot.startswith(f"{side}.") for slot in SLOTS) for side in ("left", "right", "base")}
    rows = [
        ("units of channels", units),
        ("quaternions", f"({', '.join(quaternion)})"),
        ("axes", "x forward, y left, z up; transforms are named `T_parent_child`"),
        ("gripper", f"0 {closed} … 1 {opened}; a channel that counts otherwise says where it is `{opened}`"),
        ("pictures", "uint8 RGB (height, width, 3), row 0 on top"),
        ("time", "seconds on the body's clock; a chunk carries the time of every step"),
        ("a channel inside a chunk", f"{references} (relative to the pose when the chunk begins)"),
        (
            "unified space",
            f"version {LAYOUT_VERSION}, {NUM_SLOTS} slots: "
            + ", ".join(f"{count} {side}" for side, count in blocks.items()),
        ),
    ]
    return _markdown(("what", "convention"), rows)


def bodies() -> str:
    """Every shipped card."""
    rows = []
    for card in map(load_card, card_names()):
        parts = (*card.arms, *((card.torso,) if card.torso else ()))
        joints = " + ".join(str(len(part.joints)) for part in parts)
        actions = f"{len(card.actions)} ({card.control})"
        rows.append(
            (
                f"`{card.name}`",
                card.robot_tag,
                joints,
                actions,
                f"{card.control_hz:g}",
                ", ".join(card.camera_names),
            )
        )
    return _markdown(("card", "body", "joints", "actions", "Hz", "cameras"), rows)


def _markdown(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
