"""The threshold keeps its promise: by hand where it can be counted, else by drawing many calibrations."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.model.gate.conformal import calibrate, lower_bound, most_misses, one_per_episode, upper_bound
from kinema.schema import KinemaError


def test_upper_bound_without_misses_is_the_rule_of_three() -> None:
    # (1 - p)^n = 1 - confidence
    assert upper_bound(0, 100, 0.95) == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-9)


def test_upper_bound_with_one_miss_by_hand() -> None:
    # n = 2, one miss: P(at most one) = 1 - p² = 0.1
    assert upper_bound(1, 2, 0.9) == pytest.approx(np.sqrt(0.9), rel=1e-9)


def test_bounds_enclose_the_rate_and_meet_at_the_ends() -> None:
    for misses, chunks in ((0, 10), (3, 10), (10, 10), (7, 1000)):
        assert lower_bound(misses, chunks, 0.975) <= misses / chunks <= upper_bound(misses, chunks, 0.975)
    assert upper_bound(10, 10, 0.9) == 1.0
    assert lower_bound(0, 10, 0.9) == 0.0


def test_how_many_misses_may_be_seen() -> None:
    # 0.3 % at 90 %: ln 0.1 / ln 0.997 = 766.4
    assert most_misses(766, 0.003, 0.9) == -1
    assert most_misses(767, 0.003, 0.9) == 0
    assert upper_bound(1, 1296, 0.9) <= 0.003 < upper_bound(1, 1295, 0.9)
    assert most_misses(1296, 0.003, 0.9) == 1


def test_too_few_episodes_promise_nothing() -> None:
    scores = np.linspace(0, 1, 50)
    with pytest.raises(KinemaError, match="at least 767"):
        calibrate(scores, np.ones(50, bool), np.arange(50), miss_rate=0.003, confidence=0.9)


def test_threshold_by_hand() -> None:
    # 45 harmful episodes allow no miss at 5 % and 90 %, 77 allow one (exact binomial)
    scores = np.arange(45) / 100 + 0.2
    found = calibrate(scores, np.ones(45, bool), np.arange(45), miss_rate=0.05, confidence=0.9)
    assert (found.limit, found.misses, found.chunks) == (0.2, 0, 45)
    scores = np.arange(77) / 100 + 0.2
    found = calibrate(scores, np.ones(77, bool), np.arange(77), miss_rate=0.05, confidence=0.9)
    assert found.limit == pytest.approx(0.21)
    assert found.misses == 1
    assert found.bound <= 0.05


def test_harmless_chunks_do_not_move_the_threshold() -> None:
    rng = np.random.default_rng(0)
    scores, harmful, episode = rng.random(400), rng.random(400) < 0.5, np.arange(400)
    alone = calibrate(
        scores[harmful], harmful[harmful], episode[harmful], miss_rate=0.05, confidence=0.9, seed=3
    )
    both = calibrate(scores, harmful, episode, miss_rate=0.05, confidence=0.9, seed=3)
    assert both == alone


def test_one_chunk_of_each_episode() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    harmful = np.array([True, True, False, True, False])
    episode = np.array([1, 1, 1, 2, 3])
    for seed in range(5):
        chosen = one_per_episode(scores, harmful, episode, seed)
        assert len(chosen) == 2
        assert set(chosen) <= {0.1, 0.2, 0.4}


def test_the_promise_holds_over_many_calibrations() -> None:
    """Scores of harm uniform in [0, 1]: the true miss rate of a threshold is the threshold itself."""
    rng = np.random.default_rng(1)
    rounds, broken = 400, 0
    for number in range(rounds):
        scores = rng.random(300)
        found = calibrate(
            scores, np.ones(300, bool), np.arange(300), miss_rate=0.05, confidence=0.9, seed=number
        )
        broken += found.limit > 0.05
    # at most 10 % may break it; the binomial's own spread over 400 rounds is 1.5 points
    assert broken / rounds <= 0.10 + 3 * 0.015
    assert broken / rounds > 0.01, "a bound that never breaks is far from tight"
