"""What a body's numbers mean stays as it was learnt, and where its card has changed since it is said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.space.codec import Codec
from kinema.space.stats import ChannelStats
from kinema.train.statistics import channels_changed


@dataclass(frozen=True)
class OneSource:
    card: EmbodimentCard


def codec(card: EmbodimentCard) -> Codec:
    actions, states = (np.zeros((3, len(channels)), np.float32) for channels in (card.actions, card.states))
    return Codec(
        card, ChannelStats.of_channels(card.actions, actions), ChannelStats.of_channels(card.states, states)
    )


def test_a_gripper_that_counted_the_other_way_when_it_was_learnt_is_named() -> None:
    now = load_card("panda_libero")
    actions = tuple(c.model_copy(update={"open": None}) if c.name == "gripper" else c for c in now.actions)
    before = now.model_copy(update={"actions": actions})
    (line,) = channels_changed([OneSource(now), OneSource(now)], {now.name: codec(before)})
    assert line.startswith("panda_libero: its card says otherwise of gripper than when it was learnt")


def test_a_card_that_is_as_it_was_or_new_is_not_spoken_of() -> None:
    libero, panda = load_card("panda_libero"), load_card("panda")
    assert not channels_changed([OneSource(libero), OneSource(panda)], {libero.name: codec(libero)})
