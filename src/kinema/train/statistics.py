"""Statistics of several bodies as one file: a checkpoint holds what its weights were taught with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kinema.card.card import EmbodimentCard
from kinema.space.codec import Codec
from kinema.space.stats import ChannelStats


def to_bytes(codecs: Mapping[str, Codec]) -> bytes:
    """Cards and statistics of codecs by body."""
    content: dict[str, Any] = {
        name: {
            "card": codec.card.model_dump(mode="json"),
            "action": codec.action_stats.to_json(),
            "state": codec.state_stats.to_json(),
        }
        for name, codec in codecs.items()
    }
    return json.dumps(content, indent=1).encode()


def from_bytes(content: bytes) -> dict[str, Codec]:
    """What `to_bytes` was given."""
    return {
        name: Codec(
            EmbodimentCard.model_validate_json(json.dumps(entry["card"])),
            ChannelStats.from_json(entry["action"]),
            ChannelStats.from_json(entry["state"]),
        )
        for name, entry in json.loads(content).items()
    }
