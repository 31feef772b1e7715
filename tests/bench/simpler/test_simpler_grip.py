"""Where SimplerEnv's expert takes a thing."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from kinema.bench.simpler.expert import grip
from kinema.space.rotation import matrix_from_rotvec
from laws import examples

DOWN = np.diag([1.0, -1.0, -1.0])


def box(half_m: tuple[float, float, float]) -> np.ndarray:
    """Points all over a box that stands on the ground (N, 3)."""
    ticks = np.linspace(-1, 1, 41)
    points = np.stack(np.meshgrid(ticks, ticks, ticks), -1).reshape(-1, 3)
    return (points[np.abs(points).max(1) == 1] + [0, 0, 1]) * half_m


@given(turn=st.floats(-3.1, 3.1), x=st.floats(-0.3, 0.3), tall=st.floats(0.02, 0.05))
@examples(30)
def test_two_fingers_close_across_the_thin_side_over_the_middle(turn: float, x: float, tall: float) -> None:
    R_thing = matrix_from_rotvec(np.array([0, 0, turn]))
    position, R = grip(box((0.06, 0.012, tall)) @ R_thing.T + [x, 0.1, 0], np.array([x, 0.1, tall]), DOWN)
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(R[:, 2], [0, 0, -1], atol=1e-9)
    assert abs(R[:, 1] @ R_thing[:, 1]) > np.cos(0.2), "the jaws' way is the thin one"
    np.testing.assert_allclose(position, [x, 0.1, tall], atol=3e-3)
    assert R[:, 1] @ DOWN[:, 1] >= -1e-9, "the tool does not turn by more than a quarter"


def test_flat_things_are_taken_without_touching_the_ground() -> None:
    position, _ = grip(box((0.06, 0.012, 0.004)), np.array([0, 0, 0.004]), DOWN)
    assert position[2] == 0.017


@example(turn=1.0, taper=0.1875, heavier=0.0)
@given(turn=st.floats(-3.1, 3.1), taper=st.floats(0.06, 0.2), heavier=st.floats(-0.01, 0.01))
@examples(30)
def test_a_thing_that_tapers_is_touched_beside_its_centre(turn: float, taper: float, heavier: float) -> None:
    """Its wider end ahead, the fingers' edge of that side is the one that touches."""
    R_thing = matrix_from_rotvec(np.array([0, 0, turn]))
    points = box((0.06, 0.015, 0.012))
    points[:, 1] *= 1 + points[:, 0] * taper / 0.015
    position, R = grip(points @ R_thing.T, R_thing @ [heavier, 0, 0.012], DOWN)
    place = R_thing.T @ position
    # of ways hardly wider than the thinnest (1.5 mm of 30) the nearest is taken, of those every 2 degrees
    off_rad = np.arccos(0.030 / 0.0315) + np.radians(2)
    np.testing.assert_allclose(place[0], heavier - 0.011, atol=2e-3)
    np.testing.assert_allclose(place[1], 0, atol=0.011 * np.sin(off_rad) + 1e-3)
    assert abs(R[:, 1] @ R_thing[:, 1]) > np.cos(off_rad)
