"""Which window a sample is: every window once an epoch, every source its share, nothing but seed, number."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.order import Order, hashed, permuted, uniform


@given(st.integers(1, 3000), st.integers(0, 2**60))
def test_a_keyed_permutation_is_one(size, key):
    place = np.arange(size)
    out = permuted(place, np.full(size, size), np.full(size, key, np.uint64))
    np.testing.assert_array_equal(np.sort(out), place)


def test_permutations_of_many_sizes_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    size = rng.integers(1, 10**9, 200)
    place, key = (rng.random(200) * size).astype(int), hashed(1, np.arange(200))
    together = permuted(place, size, key)
    assert (together < size).all()
    assert [
        int(permuted(*(np.array([v]) for v in row))[0]) for row in zip(place, size, key)
    ] == together.tolist()


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 1000))
def test_every_window_comes_once_before_any_comes_again(sizes, seed):
    order = Order(np.arange(1, len(sizes) + 1), np.array(sizes), seed)
    source, window = order[np.arange(2000)]
    for number, size in enumerate(sizes):
        seen = window[source == number]
        epochs, rest = np.split(seen, [len(seen) // size * size])
        each = np.sort(epochs.reshape(-1, size), axis=1)
        np.testing.assert_array_equal(each, np.broadcast_to(np.arange(size), each.shape))
        assert len(np.unique(rest)) == len(rest)


def test_a_sample_is_the_same_whichever_others_are_asked_for_with_it():
    order = Order(np.array([3.0, 1.0, 0.02]), np.array([100, 7, 50_000_000]), seed=5)
    asked = np.random.default_rng(0).integers(0, 10**12, 300)
    source, window = order[asked]
    for part in (asked[::-1], asked[:1], np.sort(asked)):
        again = pickle.loads(pickle.dumps(order))[part]
        at = [int(np.flatnonzero(asked == k)[0]) for k in part]
        np.testing.assert_array_equal(again, (source[at], window[at]))


@pytest.mark.parametrize("weights", [[1.0], [3.0, 1.0], [1e-3, 1.0, 2.0], [1.0] * 300])
def test_each_source_has_its_share_and_none_is_forgotten(weights):
    order = Order(np.array(weights), np.full(len(weights), 10**6), seed=1)
    source, _ = order[np.arange(2**17)]
    shares = np.bincount(source, minlength=len(weights)) / len(source)
    np.testing.assert_allclose(shares, np.array(weights) / np.sum(weights), rtol=0.1)


def test_orders_differ_by_seed_and_by_epoch():
    one, two = (Order(np.ones(1), np.array([64]), seed)[np.arange(256)][1] for seed in (0, 1))
    epochs = [tuple(part) for part in (*np.split(one, 4), *np.split(two, 4))]
    assert len(set(epochs)) == 8


def test_the_permutation_shows_no_order():
    """Neighbours among the samples are no neighbours among the windows, and no half comes first."""
    size = 100_000
    window = Order(np.ones(1), np.array([size]), 0)[np.arange(size)][1]
    assert abs(np.corrcoef(window[:-1], window[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(np.arange(size), window)[0, 1]) < 0.02


def test_chances_are_even():
    drawn = uniform(3, 1, np.arange(100_000))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    np.testing.assert_allclose(np.histogram(drawn, 20, (0, 1))[0], 5000, rtol=0.06)
    assert abs(np.corrcoef(drawn, uniform(3, 2, np.arange(100_000)))[0, 1]) < 0.02
