from itertools import product
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.metrics.intervals import mean95, wilson95


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # worked by hand: z^2 = 3.841459; 0 of n ends at z^2 / (n + z^2)
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (5, 10, 0.236593, 0.763407),
        (8, 10, 0.490162, 0.943318),
        (1, 1, 0.206549, 1.0),
        (50, 500, 0.076678, 0.129422),
    ],
)
def test_wilson_matches_values_worked_by_hand(successes, trials, low, high):
    assert wilson95(successes, trials) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_rate_and_mirrors(case):
    successes, trials = case
    low, high = wilson95(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    mirrored = wilson95(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_no_trials_know_nothing_and_impossible_counts_are_refused():
    assert wilson95(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson95(3, 2)


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.9, 0.1), (0.95, 0.4), (1.0, 0.05), (0.7, 0.9)])
def test_the_interval_of_a_mean_covers_it_as_often_as_it_says(rates):
    sizes = (12, 7)
    covered = 0.0
    for counts in product(*(range(n + 1) for n in sizes)):  # every outcome with its probability
        chance = 1.0
        for k, n, p in zip(counts, sizes, rates):
            chance *= comb(n, k) * p**k * (1 - p) ** (n - k)
        low, high = mean95(list(zip(counts, sizes)))
        covered += chance * (low <= sum(rates) / 2 <= high)
    assert covered >= 0.93


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.integers(1, 6))
def test_the_interval_of_a_mean_holds_it_and_never_collapses(count, groups):
    low, high = mean95([count] * groups)
    assert 0 <= low <= count[0] / count[1] <= high <= 1
    assert low < high
    assert mean95([count]) == pytest.approx(wilson95(*count))


def test_the_mean_of_nothing_is_unknown():
    assert mean95([]) == mean95([(1, 2), (0, 0)]) == (0.0, 1.0)
