"""Rotations: one way of putting two together is the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.space.rotation import composed, matrix_from_rotvec

VECTORS = st.tuples(*[st.floats(-7.0, 7.0)] * 3) | st.tuples(*[st.floats(-1e-8, 1e-8)] * 3)


@given(VECTORS, VECTORS)
def test_two_turns_are_the_product_of_their_matrices(
    first: tuple[float, ...], then: tuple[float, ...]
) -> None:
    found = composed(first, then)
    one, other = matrix_from_rotvec(np.array([first, then]))
    np.testing.assert_allclose(matrix_from_rotvec(found), other @ one, atol=1e-9)
    assert np.linalg.norm(found) <= np.pi + 1e-9  # the shorter way round


@given(VECTORS)
def test_a_turn_and_its_inverse_are_none(turn: tuple[float, ...]) -> None:
    np.testing.assert_allclose(composed(turn, [-x for x in turn]), 0.0, atol=1e-9)
    assert composed((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("axis", np.eye(3))
def test_half_a_turn_twice_is_none_and_a_quarter_twice_is_a_half(axis: np.ndarray) -> None:
    np.testing.assert_allclose(composed(np.pi * axis, np.pi * axis), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.abs(composed(np.pi / 2 * axis, np.pi / 2 * axis)), np.pi * axis, atol=1e-9)
