"""Correlations against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kinema.bench.metrics.correlation import chance_of, pearson, ranks, spearman


def test_pearson_by_hand() -> None:
    # without their means: (-1, 0, 1) and (-5, 1, 4) / 3, whose product is 3
    assert pearson([1, 2, 3], [2, 4, 5]) == pytest.approx(3 / math.sqrt(2 * (25 + 1 + 16) / 9))
    assert pearson([1, 2, 3], [30, 20, 10]) == -1.0
    assert pearson([0, 0, 1, 1], [0, 1, 0, 1]) == 0.0


def test_spearman_by_hand() -> None:
    # 1 - 6 * sum(d^2) / (n (n^2 - 1)) with d = (0, 1, -1, 0, 0): 1 - 12 / 120
    assert spearman([1, 2, 3, 4, 5], [10, 30, 20, 40, 99]) == pytest.approx(0.9)
    assert spearman([1, 2, 3, 4], [1, 8, 27, 64]) == 1.0
    # ties share their places: (1, 2.5, 2.5, 4) with (1, 2, 3, 4): 4.5 / sqrt(4.5 * 5)
    assert spearman([0, 5, 5, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))


def test_ranks_share_places() -> None:
    np.testing.assert_array_equal(ranks([30, 10, 20, 10]), [4, 1.5, 3, 1.5])


def test_only_the_order_counts_for_ranks() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 9))
    assert spearman(x, y) == pytest.approx(spearman(np.exp(x), 3 * y - 7))
    assert spearman(x, -y) == pytest.approx(-spearman(x, y))


def test_chance_counts_orders() -> None:
    assert chance_of([1, 2, 3], [4, 5, 6]) == pytest.approx(1 / 6)
    assert chance_of([1, 2, 3], [6, 5, 4]) == 1.0
    assert chance_of([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]) == pytest.approx(5 / 120)
    nine = [1, 2, 3, 4, 5, 6, 7, 8, 9]  # too many orders to count: some are drawn
    assert chance_of(nine, nine) < 1e-3
    assert chance_of(nine, [5, 1, 9, 2, 8, 3, 7, 4, 6]) == pytest.approx(0.37, abs=0.15)


def test_what_cannot_be_correlated_is_refused() -> None:
    assert math.isnan(pearson([1, 1, 1], [1, 2, 3]))
    for first, second in (([1], [1]), ([1, 2], [1, 2, 3]), ([1, math.nan], [1, 2])):
        with pytest.raises(ValueError, match=r"same length|not finite"):
            pearson(first, second)
    with pytest.raises(ValueError, match="not finite"):
        spearman([1, math.inf], [1, 2])
