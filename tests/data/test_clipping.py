"""Statistics do not erase what is rare and decisive, and a run says what they clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kinema.card.load import card_names, load_card
from kinema.data.clipping import check_clipping, clipped
from kinema.data.fake import fake_source
from kinema.data.source import measure_stats
from kinema.schema import KinemaError
from kinema.space.codec import Codec
from kinema.space.stats import ChannelStats, is_decisive


def _codec(source, horizon=16):
    return Codec(source.card, *measure_stats([source], horizon))


@pytest.mark.parametrize("name", [*card_names(), "car"])
@pytest.mark.parametrize("end", [0, 1])
def test_one_order_in_a_thousand_is_learnt_and_played_as_it_was_given(name, end):
    """Of every gripper, hand and normalised channel of every body, at either end of its range."""
    card = load_card(name)
    decisive = [i for i, c in enumerate(card.actions) if is_decisive(c)]
    assert all(i in decisive for i, c in enumerate(card.actions) if c.slot.endswith(".gripper"))
    source = fake_source(card, image_size=16, episodes=50)
    action = source.action.copy()
    for i in decisive:
        low, high = card.actions[i].range
        action[:, i] = high if end == 0 else low
        action[777, i] = low if end == 0 else high
    source = replace(source, action=action)
    codec = _codec(source)
    chunk, _ = source.windows(np.array([777]), 1)
    back = codec.decode(codec.encode(chunk, source.state[[777]]), source.state[[777]])
    np.testing.assert_allclose(back[0, 0, decisive], action[777, decisive], atol=1e-6)
    shares = {c.channel: c.share for c in clipped(source, codec, 16)}
    assert all(shares[card.actions[i].name] == 0 for i in decisive)


def test_statistics_that_are_stored_stay_as_they_are():
    """An artifact answers as before: the rule is about measuring, not about reading."""
    stored = ChannelStats(names=("gripper",), q01=np.array([0.3]), q99=np.array([0.6]))
    again = ChannelStats.from_json(stored.to_json())
    np.testing.assert_array_equal(again.q01, stored.q01)
    np.testing.assert_array_equal(again.q99, stored.q99)


def test_values_beyond_the_cards_range_widen_it():
    card = load_card("panda")
    values = np.random.default_rng(0).uniform(-0.4, 1.4, (1000, 7))
    stats = ChannelStats.of_channels(card.actions, values)
    assert stats.q01[6] < -0.3
    assert stats.q99[6] > 1.3


def test_quantiles_clip_two_in_a_hundred_and_nothing_is_said_of_it():
    source = fake_source(load_card("panda"), image_size=16, episodes=50)
    found = check_clipping([source], {"panda": _codec(source)}, 16)
    assert all(one.share <= 0.03 for one in found)
    assert not any(one.notable for one in found if one.channel == "gripper")


def test_a_rare_reach_is_said():
    source = fake_source(load_card("ur5e"), image_size=16, episodes=50)
    action = source.action.copy()
    action[::200, 1] += 6.0
    source = replace(source, action=action)
    notable = {one.channel for one in clipped(source, _codec(source), 16) if one.notable}
    assert source.card.actions[1].name in notable


@pytest.mark.parametrize("name", ["panda", "aloha", "so101"])
def test_statistics_of_smaller_motion_are_refused_with_channel_and_share(name):
    small = fake_source(load_card(name), image_size=16)
    middle = small.action.mean(0)
    wide = replace(small, name="wide", action=middle + 10 * (small.action - middle))
    codecs = {name: _codec(small)}
    with pytest.raises(KinemaError, match=rf"wide: \S+ % of the targets of {name}'s '\w+' are clipped"):
        check_clipping([small, wide], codecs, 16)
    found = check_clipping([small, wide], codecs, 16, most=1.0)
    assert max(one.share for one in found if one.source == "wide") > 0.5
    assert max(one.far for one in found if one.source == small.name) < 0.05
