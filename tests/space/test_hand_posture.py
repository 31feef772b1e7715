"""A hand's points, its joints and its ten values say the same, left and right, wherever it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.space.hand_posture import (
    ANGLES,
    POSTURES,
    VALUES,
    angles_of,
    eigengrasps,
    joints_of,
    points_of,
    posture,
    wrist_of,
)
from kinema.space.rotation import matrix_from_rotvec
from laws import examples

SHARES = st.lists(st.floats(0.0, 1.0), min_size=len(POSTURES), max_size=len(POSTURES)).filter(
    lambda shares: sum(shares) > 0.1
)
POSES = st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6)


def between(shares: list[float]) -> np.ndarray:
    weights = np.array(shares) / sum(shares)
    return weights @ np.stack([posture(name) for name in POSTURES])


@given(SHARES)
@examples(30)
def test_values_and_joints_are_inverse_between_the_postures(shares: list[float]) -> None:
    angles = between(shares)
    values = eigengrasps(angles)
    assert values.shape == (VALUES,)
    assert np.abs(values).max() < 3.0  # the card's range
    np.testing.assert_allclose(angles_of(values), angles, atol=1e-9)
    np.testing.assert_allclose(eigengrasps(angles_of(values)), values, atol=1e-9)


def test_values_are_the_nearest_of_any_posture() -> None:
    """Principal components: what is lost is at right angles to all that can be said."""
    rng = np.random.default_rng(0)
    angles = rng.normal(0, 0.5, (20, ANGLES))
    lost = angles - angles_of(eigengrasps(angles))
    said = angles_of(np.eye(VALUES)) - angles_of(np.zeros(VALUES))
    np.testing.assert_allclose(said @ said.T, np.eye(VALUES), atol=1e-12)
    np.testing.assert_allclose(lost @ said.T, 0.0, atol=1e-12)
    assert np.abs(lost).max() > 0.1


@pytest.mark.parametrize("side", ["left", "right"])
@given(SHARES, POSES)
@examples(30)
def test_points_and_joints_are_inverse_wherever_the_hand_is(
    side: str, shares: list[float], pose: list[float]
) -> None:
    angles, T = between(shares), np.eye(4)
    T[:3, :3], T[:3, 3] = matrix_from_rotvec(np.array(pose[:3])), pose[3:]
    mirror = np.array([-1.0 if side == "left" else 1.0, 1.0, 1.0])
    points = 1.1 * points_of(angles) * mirror @ T[:3, :3].T + T[:3, 3]  # of a larger hand
    np.testing.assert_allclose(wrist_of(points, side), T, atol=1e-9)
    np.testing.assert_allclose(joints_of(points, side), angles, atol=1e-7)
