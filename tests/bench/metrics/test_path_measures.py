"""The trajectory measures on cases small enough to be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kinema.bench.metrics import paths
from kinema.schema import KinemaError

LINE = np.array([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0]])
ABOVE = LINE + np.array([0.0, 0.3])


def test_hausdorff_is_the_farthest_point_from_the_other_path() -> None:
    assert paths.hausdorff(LINE, ABOVE) == pytest.approx(0.3)
    # the single point lies 0.2 from the far end; the line's own nearest points do not matter
    assert paths.hausdorff(LINE, LINE[:1]) == pytest.approx(0.2)
    assert paths.hausdorff(LINE[:1], LINE) == pytest.approx(0.2)


def test_warping_ignores_when_and_not_where() -> None:
    late = np.array([[0.0, 0.0], [0.0, 0.0], [0.1, 0.0], [0.2, 0.0]])
    assert paths.warping_distance(LINE, late) == 0.0
    # three pairs, each 0.3 apart
    assert paths.warping_distance(LINE, ABOVE) == pytest.approx(0.3)
    # against one point all three are matched with it: (0 + 0.1 + 0.2) / 3
    assert paths.warping_distance(LINE, LINE[:1]) == pytest.approx(0.1)


def test_wasserstein_is_the_area_between_distribution_functions() -> None:
    assert paths.wasserstein(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == pytest.approx(2.0)
    assert paths.wasserstein(np.array([0.0]), np.array([0.0, 1.0])) == pytest.approx(0.5)
    assert paths.wasserstein(np.array([3.0, 1.0]), np.array([1.0, 3.0])) == 0.0


def test_hsd_and_ndtw_are_inverse_distances_over_the_published_constants() -> None:
    assert paths.hsd(LINE, ABOVE) == pytest.approx(1 / 0.3 / 24.979)
    assert paths.ndtw(LINE, ABOVE) == pytest.approx(1 / 0.3 / 50.202)
    near = LINE + np.array([0.0, 0.01])  # 1 / 0.01 = 100 is above both constants
    assert paths.hsd(near, LINE) == paths.ndtw(near, LINE) == 1.0


def test_dyn_by_hand() -> None:
    true = np.array([[0.0, 0.0], [0.1, 0.0], [0.3, 0.0], [0.6, 0.0]])  # speeds 0.1 0.2 0.3, changes 0.1 0.1
    imagined = np.array([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0], [0.4, 0.0]])  # 0.1 0.1 0.2, changes 0.0 0.1
    # speeds: ranges 0.1 / 0.2, W1 = (0 + 0.1 + 0.1) / 3; changes: range 0.1 against 0, W1 = 0.05
    expected = (0.007 * 0.5 / (0.2 / 3) + 0.003 * (1e-8 / 0.1) / 0.05) / 22.519
    assert paths.dyn(imagined, true) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("measure", [paths.hsd, paths.ndtw, paths.dyn])
def test_equal_paths_score_one_and_a_still_one_nearly_nothing(measure) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    true = np.cumsum(rng.uniform(0, 0.05, (13, 2)), 0)
    assert measure(true, true) == 1.0
    still = np.repeat(true[:1], 13, 0)
    assert measure(still, true) < 0.2


def test_missing_points_are_filled_between_neighbours_and_at_the_ends() -> None:
    nan = math.nan
    path = np.array([[nan, nan], [0.1, 0.4], [nan, nan], [0.3, 0.2], [nan, nan]])
    filled = paths.fill_missing(path)
    assert filled is not None
    np.testing.assert_allclose(filled, [[0.1, 0.4], [0.1, 0.4], [0.2, 0.3], [0.3, 0.2], [0.3, 0.2]])


def test_a_path_with_more_than_four_fifths_missing_is_no_path() -> None:
    path = np.full((10, 2), math.nan)
    path[0] = 0.5
    assert paths.fill_missing(path) is None
    path[1] = 0.6  # exactly four fifths are missing
    assert paths.fill_missing(path) is not None


def test_the_arm_that_truly_travels_farthest_is_judged() -> None:
    resting = np.repeat([[0.9, 0.9]], 3, 0)
    true = np.stack([resting, LINE], 1)
    wrong_rest = np.stack([resting + 0.05, LINE], 1)
    assert paths.path_scores(wrong_rest, true)["hsd"] == 1.0
    wrong_moving = np.stack([resting, ABOVE], 1)
    assert paths.path_scores(wrong_moving, true)["hsd"] == pytest.approx(1 / 0.3 / 24.979)


def test_an_unseen_gripper_scores_nothing_and_an_unseen_true_one_is_an_error() -> None:
    unseen = np.full((3, 1, 2), math.nan)
    assert paths.path_scores(unseen, LINE[:, None]) == {"hsd": 0.0, "ndtw": 0.0, "dyn": 0.0}
    with pytest.raises(KinemaError, match="true film"):
        paths.path_scores(LINE[:, None], unseen)
