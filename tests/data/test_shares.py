"""Shares of a mixture: as asked for, told as they were drawn, refused where they mean nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.data.mixture import Mixture
from kinema.data.shares import PUBLISHED, weighed
from kinema.data.source import measure_stats
from kinema.data.stream import Feed
from kinema.data.text import TextTokenizer
from kinema.schema import KinemaError
from kinema.space.codec import Codec

BODIES = {
    "robot": "panda",
    "ego": "ur5e",
    "navigation": "ur10e",
    "synthetic": "xarm7",
    "vision_language": "aloha",
}


def _source(kind, name=None, seed=0):
    card = load_card(name or BODIES[kind])
    return replace(fake_source(card, image_size=64, seed=seed), name=f"{kind} {card.name} {seed}", kind=kind)


def _mixture(sources, batch_size=50, **how):
    tokenizer = TextTokenizer.train([t for s in sources for t in s.tasks], 400)
    codecs = {s.card.name: Codec(s.card, *measure_stats([s], 16)) for s in sources}
    feed = Feed(batch_size=batch_size, seed=how.pop("seed", 0), ranks=how.pop("ranks", 1))
    return Mixture(sources, codecs, tokenizer, feed, horizon=16, **how)


def _drawn(mixture, batches):
    mixture.state = replace(mixture.state, drawn=batches)
    return {one.source: one.samples for one in mixture.drawn()}


@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_thousand_draws_have_the_published_shares_within_half_a_point(seed):
    sources = weighed([_source(kind) for kind in PUBLISHED])
    mixture = _mixture(sources, batch_size=1000, seed=seed)
    drawn = _drawn(mixture, 100)
    assert sum(drawn.values()) == 100_000
    for source in sources:
        share = 100 * PUBLISHED[source.kind] / sum(PUBLISHED.values())
        assert drawn[source.name] / 1000 == pytest.approx(share, abs=0.5)


@pytest.mark.parametrize("tasks_alike", [False, True])
def test_what_is_told_to_be_drawn_is_what_the_batches_hold(tasks_alike):
    sources = weighed(
        [_source("robot"), _source("ego"), _source("synthetic")], {"robot": 5, "ego": 1, "synthetic": 2}
    )
    mixture = _mixture(sources, batch_size=37, tasks_alike=tasks_alike)
    seen = Counter(origin.split(",")[0] for number in range(130) for origin in mixture.origins(number))
    assert _drawn(mixture, 130) == seen
    asked = {one.source: one.asked for one in mixture.drawn()}
    assert list(asked.values()) == pytest.approx([5 / 8, 1 / 8, 2 / 8])


def test_all_processes_together_are_counted():
    sources = [_source("robot"), _source("ego")]
    alone, shared = _mixture(sources, batch_size=60), _mixture(sources, batch_size=20, ranks=3)
    assert _drawn(alone, 7) == _drawn(shared, 7)


def test_a_weighed_stream_goes_on_with_the_very_next_sample():
    sources = weighed([_source("robot"), _source("synthetic")])
    whole, stopped, resumed = (_mixture(sources, tasks_alike=True) for _ in range(3))
    for _ in range(4):
        stopped.draw()
    resumed.state = stopped.state
    later = [[whole.draw() for _ in range(8)][4:], [resumed.draw() for _ in range(4)]]
    for one, other in zip(*later):
        assert torch.equal(one.actions, other.actions)
        assert torch.equal(one.inputs.images, other.inputs.images)


def test_bodies_may_share_alike_and_sources_of_a_body_by_their_weights():
    panda, more = _source("robot"), replace(_source("robot", seed=1), weight=3.0)
    found = weighed(
        [panda, more, _source("robot", "aloha"), _source("ego")], {"robot": 3, "ego": 1}, bodies_alike=True
    )
    shares = np.array([source.weight for source in found]) / sum(source.weight for source in found)
    np.testing.assert_allclose(shares, [3 / 8 / 4, 3 / 8 * 3 / 4, 3 / 8, 1 / 4])


def test_tasks_may_share_alike_however_many_windows_they_have():
    source = _source("robot")
    task = np.where(np.arange(source.steps) < 12, 0, 1)  # 12 of 240 windows
    source = replace(source, task_index=task, tasks=["rare", "usual"])
    mixture = _mixture([source], batch_size=100, tasks_alike=True)
    starts = np.concatenate([mixture._windows(mixture.samples(n))[1] for n in range(20)])
    assert (starts < 12).mean() == pytest.approx(0.5, abs=0.02)
    assert len(np.unique(starts)) == 240


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"robot": -1.0}, "the share of robot must be a number that is not negative, got -1"),
        ({"robot": float("nan")}, "not negative, got nan"),
        ({"robot": 0.0}, "the shares of robot sum to nothing"),
        ({}, "the shares of no kind sum to nothing"),
        ({"robot": 1.0, "ego": 2.0}, "ego has a share of 2, and no source is of that kind; there are robot"),
        ({"robots": 1.0}, "a share is of a kind of source: robot, ego.*; got 'robots'"),
    ],
)
def test_shares_that_mean_nothing_are_refused(shares, said):
    with pytest.raises(KinemaError, match=said):
        weighed([_source("robot")], shares)


def test_a_source_without_a_share_and_one_without_weight_are_refused():
    with pytest.raises(KinemaError, match="there are sources of kind ego, which have no share"):
        weighed([_source("robot"), _source("ego")], {"robot": 1.0})
    for weight in (-1.0, 0.0, float("inf")):
        with pytest.raises(KinemaError, match="its weight must be above 0"):
            replace(_source("robot"), weight=weight)


def test_a_share_of_nothing_leaves_a_kind_out():
    assert [s.kind for s in weighed([_source("robot"), _source("ego")], {"robot": 1, "ego": 0})] == ["robot"]
