"""A card as a client needs it: what to send, what comes back, how fast."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from kinema.card.card import Channel, EmbodimentCard

VERSION = version("kinema")


def card_facts(card: EmbodimentCard) -> dict[str, Any]:
    return {
        "robot": card.robot_tag,
        "control": card.control,
        "control_hz": card.control_hz,
        "chunk": card.chunk,
        "cameras": list(card.camera_names),
        "states": [_channel(channel) for channel in card.states],
        "actions": [_channel(channel) for channel in card.actions],
        "hold": {"action": card.hold.action, "stop_after_s": card.hold.stop_after_s},
    }


def _channel(channel: Channel) -> dict[str, Any]:
    return {"name": channel.name, "unit": channel.unit, "low": channel.range[0], "high": channel.range[1]}
