"""What a body's numbers mean stays as it was learnt, and where its card has changed since it is said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.space.codec import Codec
from kinema.space.stats import ChannelStats
from kinema.train.statistics import changes, codecs_for


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
    known = {now.name: codec(before)}
    (line,) = changes([OneSource(now), OneSource(now)], known, known)
    assert line.startswith("panda_libero: its card says otherwise of gripper than when it was learnt")


def test_a_card_that_is_as_it_was_or_new_is_not_spoken_of() -> None:
    libero, panda = load_card("panda_libero"), load_card("panda")
    sources, known = [OneSource(libero), OneSource(panda)], {libero.name: codec(libero)}
    codecs = codecs_for(sources, lambda group: codec(group[0].card), None, known)
    assert not changes(sources, codecs, known)
    assert codecs[libero.name] is known[libero.name], "measured anew"


def test_a_body_without_data_is_left_out_of_what_is_trained_and_that_is_said() -> None:
    libero, panda = load_card("panda_libero"), load_card("panda")
    known = {card.name: codec(card) for card in (libero, panda)}
    codecs = codecs_for([OneSource(libero)], lambda group: codec(group[0].card), None, known)
    assert list(codecs) == ["panda_libero"]
    (line,) = changes([OneSource(libero)], codecs, known)
    assert line.startswith("panda: known to the artifact to start from, and not in the data")
