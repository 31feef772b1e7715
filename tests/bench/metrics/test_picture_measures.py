"""PSNR, SSIM, feature distances and Frechet distances on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.bench.metrics import features, images
from kinema.bench.metrics.intervals import bootstrap95
from kinema.schema import KinemaError

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_psnr_of_a_constant_error() -> None:
    grey = np.full((2, 16, 16, 3), 100, np.uint8)
    assert images.psnr(grey + np.uint8(5), grey) == pytest.approx(10 * np.log10(255**2 / 25))
    assert images.psnr(grey, grey) == images.PSNR_MOST_DB
    one_wrong = grey.copy()
    one_wrong[1] += 5  # the mean is over pictures, in dB
    expected = (images.PSNR_MOST_DB + 10 * np.log10(255**2 / 25)) / 2
    assert images.psnr(one_wrong, grey) == pytest.approx(expected)


def test_ssim_of_flat_pictures_is_their_luminance_term() -> None:
    a, b = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 120, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert images.ssim(a, b) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1))


def test_ssim_is_one_for_equal_and_symmetric_and_low_for_unrelated_pictures() -> None:
    other = RNG.integers(0, 256, PICTURE.shape, dtype=np.uint8)
    assert images.ssim(PICTURE, PICTURE) == pytest.approx(1.0)
    assert images.ssim(PICTURE, other) == pytest.approx(images.ssim(other, PICTURE))
    assert images.ssim(PICTURE, other) < 0.2


def test_pictures_of_two_shapes_are_refused() -> None:
    with pytest.raises(KinemaError, match="one shape"):
        images.psnr(PICTURE, PICTURE[:8])


def test_perceptual_distance_of_orthogonal_features_is_two_a_layer() -> None:
    right, up = np.zeros((1, 2, 2, 2)), np.zeros((1, 2, 2, 2))
    right[..., 0], up[..., 1] = 3.0, 0.5  # length does not matter, direction does
    assert features.perceptual_distance([right, right], [up, right]) == pytest.approx(2.0, rel=1e-6)
    assert features.perceptual_distance([right], [right]) == 0.0


def test_scene_consistency_by_hand() -> None:
    maps = np.zeros((3, 1, 1, 2))
    maps[0, ..., 0] = maps[1, ..., 0] = 1.0
    maps[2, ..., 1] = 1.0  # orthogonal to both
    # frame 1: (1 + 1) / 2; frame 2: (0 + 0) / 2
    assert features.scene_consistency(maps) == pytest.approx(0.5)
    assert features.scene_consistency(maps[:2]) == pytest.approx(1.0)


def test_frechet_of_gaussians_by_hand() -> None:
    mean, other = np.array([0.0, 0.0]), np.array([3.0, 4.0])
    one, four = np.eye(2), 4 * np.eye(2)
    # |(3, 4)|² + sum over axes of (1 - 2)²
    assert features.frechet_of_gaussians(mean, one, other, four) == pytest.approx(25 + 2)
    assert features.frechet_of_gaussians(mean, one, mean, one) == pytest.approx(0.0)


def test_frechet_distance_is_zero_of_the_same_films_and_grows_with_the_shift() -> None:
    films = np.random.default_rng(1).normal(size=(20, 6))
    assert features.frechet_distance(films, films) == pytest.approx(0.0, abs=1e-9)
    near, far = (features.frechet_distance(films + shift, films) for shift in (0.1, 1.0))
    assert 0 < near < far
    with pytest.raises(KinemaError, match="at least 2"):
        features.frechet_distance(films[:1], films)


def test_frechet_distance_of_fewer_films_than_dimensions_is_finite() -> None:
    rng = np.random.default_rng(2)
    distance = features.frechet_distance(rng.normal(size=(5, 40)), rng.normal(size=(5, 40)))
    assert np.isfinite(distance)
    assert distance > 0


def test_film_embedding_holds_the_mean_and_the_change() -> None:
    maps = np.zeros((3, 2, 2, 1))
    maps[1], maps[2] = 2.0, 1.0
    np.testing.assert_allclose(features.film_embedding(maps), [1.0, 1.5])  # (0 + 2 + 1) / 3, (2 + 1) / 2


def test_bootstrap_interval_is_of_the_mean_and_ignores_order() -> None:
    assert bootstrap95([2.0, 2.0, 2.0]) == (2.0, 2.0)
    low, high = bootstrap95(list(range(100)))
    assert low < 49.5 < high
    assert high - low == pytest.approx(2 * 1.96 * 28.9 / 10, rel=0.15)  # the normal approximation
    assert bootstrap95([1.0, 5.0, 2.0]) == bootstrap95([5.0, 2.0, 1.0])
    assert np.isnan(bootstrap95([])).all()
