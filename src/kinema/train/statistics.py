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
    """Codecs by body: those of the checkpoint gone on from; else of the bodies that there is data of, the
    known ones' as they are and new ones' as measured.

    Raises KinemaError where there is data of a body that the checkpoint has no statistics of.
    """
    by_body: dict[str, list[S]] = {}
    for source in sources:
        by_body.setdefault(source.card.name, []).append(source)
    if stored is None:
        return {name: known[name] if name in known else measure(of) for name, of in by_body.items()}
    codecs = from_bytes(stored[FILE])
    if new := sorted(set(by_body) - set(codecs)):
        raise KinemaError(
            f"the data holds {', '.join(new)}, which this run began without (it knows {', '.join(codecs)}); "
            f"start a new run from its artifact with --init"
        )
    return codecs


def changes(sources: Sequence[S], codecs: Mapping[str, Codec], known: Mapping[str, Codec]) -> list[str]:
    """What a user should know of the bodies before a run: lines of those left out, and of changed cards.

    codecs: what `codecs_for` gave; known: what it was given
    """
    cards = {source.card.name: source.card for source in sources}
    return [*_left_out(cards, known), *_changed(cards, codecs)]


def _left_out(cards: Mapping[str, EmbodimentCard], known: Mapping[str, Codec]) -> list[str]:
    """Bodies that a run begins from and has no data of: while it learns others, it forgets them."""
    if not (left := sorted(set(known) - set(cards))):
        return []
    return [
        f"{', '.join(left)}: known to the artifact to start from, and not in the data; what is trained will "
        "not speak for them"
    ]


def _changed(cards: Mapping[str, EmbodimentCard], codecs: Mapping[str, Codec]) -> list[str]:
    """Bodies whose card says of a channel what it did not say when it was learnt.

    Such a body is trained on as it began, and weights for several bodies may then mean two things by a slot.
    """
    lines = []
    for name, card in cards.items():
        learnt = codecs[name].card
        before, now = ({c for c in (*of.actions, *of.states)} for of in (learnt, card))
        if names := sorted({channel.name for channel in before ^ now}):
            lines.append(
                f"{name}: its card says otherwise of {', '.join(names)} than when it was learnt; it is "
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
