"""Statistics of several bodies: measured when a run begins, then part of what its weights mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from kinema.card.card import EmbodimentCard
from kinema.schema import KinemaError
from kinema.space.codec import Codec
from kinema.space.stats import ChannelStats

FILE = "statistics.json"  # in a checkpoint


class OfBody(Protocol):
    @property
    def card(self) -> EmbodimentCard: ...


S = TypeVar("S", bound=OfBody)


def codecs_for(
    sources: Sequence[S], measure: Callable[[Sequence[S]], Codec], stored: Mapping[str, bytes] | None,
    known: Mapping[str, Codec],
) -> dict[str, Codec]:  # fmt: skip
    """Codecs by body: those of the checkpoint gone on from, else those known, and new bodies' as measured.

    Raises KinemaError where there is data of a body that the checkpoint has no statistics of.
    """
    by_body: dict[str, list[S]] = {}
    for source in sources:
        by_body.setdefault(source.card.name, []).append(source)
    if stored is None:
        return dict(known) | {name: measure(of) for name, of in by_body.items() if name not in known}
    codecs = from_bytes(stored[FILE])
    if new := sorted(set(by_body) - set(codecs)):
        raise KinemaError(
            f"the data holds {', '.join(new)}, which this run began without (it knows {', '.join(codecs)}); "
            f"start a new run from its artifact with --init"
        )
    return codecs


def channels_changed(sources: Sequence[S], known: Mapping[str, Codec]) -> list[str]:
    """A line for each body whose card says of a channel what it did not say when it was learnt.

    Such a body is trained on as it began, and weights for several bodies may then mean two things by a slot.
    """
    lines = []
    for card in {source.card.name: source.card for source in sources if source.card.name in known}.values():
        learnt = known[card.name].card
        before, now = ({c for c in (*of.actions, *of.states)} for of in (learnt, card))
        if names := sorted({channel.name for channel in before ^ now}):
            lines.append(
                f"{card.name}: its card says otherwise of {', '.join(names)} than when it was learnt; it is "
                f"trained on as it was. To train several bodies in one, begin without --init"
            )
    return lines


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
