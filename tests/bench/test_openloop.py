"""Open-loop error: of the steps that are real, by episode, channel and unit."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.bench.openloop import HOLD, MEAN, POLICY, Chunks, OpenLoop


@pytest.fixture
def chunks() -> Chunks:
    """Three chunks of two steps and two channels: two of episode 4, one of episode 9 that ends early."""
    actions = np.arange(12.0).reshape(3, 2, 2)
    real = np.array([[True, True], [True, True], [True, False]])
    return Chunks(actions=actions, real=real, episode=np.array([4, 4, 9]))


def test_who_repeats_what_was_done_is_right(chunks: Chunks) -> None:
    np.testing.assert_array_equal(chunks.errors(chunks.actions), np.zeros((2, 2)))


def test_errors_are_means_over_real_steps(chunks: Chunks) -> None:
    told = chunks.actions.copy()
    told[0, 0, 0] += 4.0  # one of the four steps of episode 4
    told[2, 0, 1] -= 3.0  # the only real step of episode 9
    told[2, 1] += 100.0  # past its end
    np.testing.assert_allclose(chunks.errors(told), [[1.0, 0.0], [0.0, 3.0]])
    one_for_all = chunks.errors(np.zeros((1, 1, 2)))
    np.testing.assert_allclose(one_for_all, [[3.0, 4.0], [8.0, 9.0]])


def test_units_are_not_mixed(chunks: Chunks) -> None:
    errors = {POLICY: np.array([[1.0, 10.0], [3.0, 30.0]]), HOLD: np.ones((2, 2)), MEAN: np.zeros((2, 2))}
    found = OpenLoop(channels=["elbow", "thumb"], units=["rad", "fraction"], episodes=[4, 9], errors=errors)
    told = found.to_json()
    assert told["by_unit"]["rad"][POLICY]["mean"] == 2.0
    assert told["by_unit"]["fraction"][POLICY]["mean"] == 20.0
    assert told["by_channel"]["thumb"] == {"unit": "fraction", POLICY: 20.0, HOLD: 1.0, MEAN: 0.0}
    low, high = told["by_unit"]["rad"][POLICY]["ci95"]
    assert 1.0 <= low <= 2.0 <= high <= 3.0
