"""Which share of a run's targets its statistics clip, by channel.

Statistics are quantiles, so about one target in fifty is clipped, by little. More than that, or far more than
by little, is motion that is not learnt: a rare reach, or data of another kind than the statistics are of.

Axes: n windows, H steps, D channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kinema.card.prompt import asked_steps
from kinema.data.source import Source
from kinema.schema import KinemaError
from kinema.space.codec import Codec

MOST_CLIPPED = 0.1  # share of a channel's targets lost by more than little, beyond which it must be meant
_LITTLE = 0.1  # half widths
_USUAL = 0.03  # clipped at all: two quantiles of one in a hundred each, and what chance adds
_WINDOWS = 5_000


@dataclass(frozen=True, kw_only=True)
class Clipped:
    """One channel of one source.

    share, far: of its targets clipped at all, and by more than a twentieth of the statistics' width
    most, excess: the most that is lost of one, in the channel's unit and in half widths
    """

    source: str
    card: str
    channel: str
    unit: str
    share: float
    far: float
    most: float
    excess: float

    @property
    def notable(self) -> bool:
        """Whether more is lost than quantiles always cut off."""
        return self.share > _USUAL or self.excess > 1

    def __str__(self) -> str:
        return (
            f"{self.source}: {100 * self.share:.2g} % of the targets of {self.card}'s {self.channel!r} are "
            f"clipped, {100 * self.far:.2g} % by more than little; up to {self.most:.3g} {self.unit} is lost"
        )


def clipped(source: Source, codec: Codec, horizon: int, seed: int = 0) -> list[Clipped]:
    """Every channel of a source's targets, from at most so many windows."""
    rng = np.random.default_rng(seed)
    seen = source.sampled_starts()
    starts = rng.choice(seen, min(len(seen), _WINDOWS), replace=False)
    chunk, real = source.windows(starts, asked_steps(source.card, horizon))
    beyond = codec.beyond(chunk, source.state[starts])[real]  # (m, D)
    half_width = codec.action_stats.half_width
    return [
        Clipped(
            source=source.name, card=source.card.name, channel=channel.name, unit=channel.unit,
            share=float((beyond[:, i] > 1e-6).mean()), far=float((beyond[:, i] > _LITTLE).mean()),
            most=float(beyond[:, i].max() * half_width[i]), excess=float(beyond[:, i].max()),
        )
        for i, channel in enumerate(source.card.actions)
    ]  # fmt: skip


def check_clipping(
    sources: Sequence[Source], codecs: Mapping[str, Codec], horizon: int, most: float = MOST_CLIPPED
) -> list[Clipped]:
    """What statistics clip of a run's targets, all channels of all sources.

    Raises KinemaError when more than `most` of a channel's targets lose more than little: then the statistics
    are of other data.
    """
    found = [one for source in sources for one in clipped(source, codecs[source.card.name], horizon)]
    if over := sorted((one for one in found if one.far > most), key=lambda one: -one.far):
        raise KinemaError(
            f"{over[0]}{f' (and so {len(over) - 1} more channels)' if len(over) > 1 else ''}. At most "
            f"{100 * most:g} % are taken for granted: these statistics are of other data. Train without "
            f"--init, which measures them anew, or say with --most-clipped that it is meant"
        )
    return found
