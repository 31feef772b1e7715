"""How near pictures are to the true ones, pixel by pixel. Pictures are uint8 (..., H, W, 3)."""

from __future__ import annotations

import numpy as np

from kinema.schema import KinemaError

PSNR_MOST_DB = 60.0  # what equal pictures score: a mean needs a number
_WINDOW, _SIGMA = 11, 1.5


def psnr(pictures: np.ndarray, true: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB: the mean over single pictures, each at most PSNR_MOST_DB."""
    _check(pictures, true)
    error = pictures.astype(np.float64) - true
    mean_squared = (error**2).mean((-3, -2, -1))
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(255.0**2 / mean_squared)
    return float(np.minimum(decibels, PSNR_MOST_DB).mean())


def ssim(pictures: np.ndarray, true: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004): 11 x 11 Gaussian windows, per channel, mean of everything."""
    _check(pictures, true)
    x, y = pictures.astype(np.float64), true.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    index = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(index.mean())


def _blur(values: np.ndarray) -> np.ndarray:
    """Gaussian-weighted means over all windows that lie inside (..., H, W, C)."""
    weights = np.exp(-((np.arange(_WINDOW) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    for axis in (-3, -2):
        windows = np.lib.stride_tricks.sliding_window_view(values, _WINDOW, axis=axis)
        values = windows @ weights
    return values


def _check(pictures: np.ndarray, true: np.ndarray) -> None:
    if pictures.shape != true.shape or pictures.shape[-1:] != (3,):
        raise KinemaError(
            f"pictures (..., H, W, 3) of one shape are compared; got {pictures.shape}, {true.shape}"
        )
    if min(pictures.shape[-3:-1]) < _WINDOW:
        raise KinemaError(f"pictures must be at least {_WINDOW} pixels wide and high; got {pictures.shape}")
