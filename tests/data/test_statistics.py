"""Streaming statistics equal the ones of the whole array, in any order and split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kinema.data.lerobot import Dataset
from kinema.data.measure import measure
from kinema.data.statistics import QUANTILES, Accumulator, ImageAccumulator
from laws import examples

finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)


def _accumulated(values: np.ndarray, parts: int) -> dict:
    accumulator = Accumulator(values.shape[1])
    for part in np.array_split(values, parts):
        accumulator.add(part)
    return accumulator.result()


@examples(60)
@given(
    values=arrays(np.float32, st.tuples(st.integers(1, 60), st.just(2)), elements=finite),
    parts=st.integers(1, 7),
)
def test_one_pass_equals_the_whole_array(values, parts):
    got = _accumulated(values, parts)
    exact = values.astype(np.float64)
    scale = 1e-9 + np.abs(exact).max()
    assert got["count"] == [len(values)]
    assert got["min"] == exact.min(0).tolist()
    assert got["max"] == exact.max(0).tolist()
    np.testing.assert_allclose(got["mean"], exact.mean(0), atol=1e-9 * scale)
    np.testing.assert_allclose(got["std"], exact.std(0), atol=1e-6 * scale)
    bin_width = np.ptp(exact, axis=0) / 4096 + 1e-9
    for name, q in QUANTILES.items():  # between the neighbouring order statistics, give or take one bin
        low = np.quantile(exact, q, axis=0, method="lower") - bin_width
        high = np.quantile(exact, q, axis=0, method="higher") + bin_width
        assert (low <= got[name]).all()
        assert (got[name] <= high).all()


@examples(30)
@given(
    values=arrays(np.float32, st.tuples(st.integers(2, 50), st.just(1)), elements=finite),
    seed=st.integers(0, 99),
)
def test_quantiles_do_not_depend_on_order_or_split(values, seed):
    shuffled = np.random.default_rng(seed).permutation(values)
    a, b = _accumulated(values, 1), _accumulated(shuffled, 5)
    for name in QUANTILES:
        assert a[name] == b[name]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="finite"):
        Accumulator(1).add(np.array([[np.nan]]))
    with pytest.raises(ValueError, match="nothing"):
        Accumulator(1).result()


def test_pictures_are_exact_and_scaled_to_one():
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    accumulator = ImageAccumulator()
    accumulator.add(images[:2])
    accumulator = ImageAccumulator.from_state(accumulator.state())  # as resuming does
    accumulator.add(images[2:])
    got, scaled = accumulator.result(), images.reshape(-1, 3) / 255
    assert np.shape(got["mean"]) == (3, 1, 1)
    assert got["count"] == [5]
    np.testing.assert_allclose(np.ravel(got["mean"]), scaled.mean(0))
    np.testing.assert_allclose(np.ravel(got["std"]), scaled.std(0))
    np.testing.assert_allclose(np.ravel(got["q10"]), np.quantile(scaled, 0.1, axis=0), atol=1.01 / 255)


def test_the_recorded_statistics_are_those_of_the_data(recorded_once):
    dataset = Dataset.open(recorded_once)
    stated, measured = dataset.statistics, measure(dataset)
    assert set(stated) == set(measured)
    for name in measured:
        tolerance = 0.05 if "images" in name else 1e-9  # pictures were measured before compression
        for key, value in measured[name].items():
            np.testing.assert_allclose(stated[name][key], value, atol=tolerance, err_msg=f"{name} {key}")
