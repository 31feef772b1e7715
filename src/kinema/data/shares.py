"""Which share of a mixture each kind of source has, and each body within a kind.

Axes: S sources.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

from kinema.data.source import Kind, Source
from kinema.schema import KinemaError

# Of samples, in percent (Qwen-VLA, arXiv 2605.30280, section 4); they need not sum to a hundred.
PUBLISHED: Mapping[Kind, float] = {
    "robot": 74.2, "ego": 6.0, "navigation": 7.5, "synthetic": 3.7, "vision_language": 8.5
}  # fmt: skip


def weighed(
    sources: Sequence[Source], shares: Mapping[Kind, float] | None = None, *, bodies_alike: bool = False
) -> list[Source]:
    """The sources with weights that give each kind its share, in any unit.

    Within a kind they share as their own weights say, or, with `bodies_alike`, every body alike and its
    sources as their weights say. None: the published shares of the kinds that there are.

    Raises KinemaError for a share that is negative or not finite, for shares that sum to nothing, and for a
    kind that has a share and no source, or a source and no share.
    """
    present = {source.kind for source in sources}
    if shares is None:
        shares = {kind: share for kind, share in PUBLISHED.items() if kind in present}
    _check(shares, present)
    group = [(source.kind, source.card.name if bodies_alike else "") for source in sources]
    weight_of: Counter[tuple[Kind, str]] = Counter()
    for source, key in zip(sources, group):
        weight_of[key] += source.weight  # type: ignore[assignment]
    groups_of = Counter(kind for kind, _ in weight_of)
    return [
        replace(source, weight=shares[source.kind] / groups_of[source.kind] * source.weight / weight_of[key])
        for source, key in zip(sources, group)
        if shares[source.kind]
    ]


def _check(shares: Mapping[Kind, float], present: set[Kind]) -> None:
    for kind, share in shares.items():
        if kind not in get_args(Kind):
            raise KinemaError(f"a share is of a kind of source: {', '.join(get_args(Kind))}; got {kind!r}")
        if not (math.isfinite(share) and share >= 0):
            raise KinemaError(f"the share of {kind} must be a number that is not negative, got {share}")
        if share and kind not in present:
            raise KinemaError(
                f"{kind} has a share of {share:g}, and no source is of that kind; there are "
                f"{', '.join(sorted(present))}"
            )
    if not sum(shares.values()):
        raise KinemaError(f"the shares of {', '.join(shares) or 'no kind'} sum to nothing")
    if without := sorted(present - shares.keys()):
        raise KinemaError(
            f"there are sources of kind {', '.join(without)}, which have no share; 0 leaves out"
        )
