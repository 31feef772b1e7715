import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.metrics.intervals import wilson95


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
