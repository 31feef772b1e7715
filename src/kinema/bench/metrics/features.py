"""Distances in the feature space of a fixed encoder that is handed in and named in every result.

A picture's features are maps (h, w, C), from fine to coarse. Axes: n pictures, F frames, N films.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinema.schema import KinemaError

Maps = Sequence[np.ndarray]  # float (n, h, w, C) each
_EPSILON = 1e-10


def perceptual_distance(maps: Maps, true: Maps) -> float:
    """As LPIPS without learned weights: squared distance of unit feature vectors, mean over places, sum
    over layers (Zhang et al. 2018, arXiv 1801.03924); 0 for equal pictures."""
    if len(maps) != len(true) or any(a.shape != b.shape for a, b in zip(maps, true)):
        raise KinemaError("features of one encoder and as many pictures are compared")
    return float(sum(((_unit(a) - _unit(b)) ** 2).sum(-1).mean() for a, b in zip(maps, true)))


def scene_consistency(maps: np.ndarray) -> float:
    """The cosine of each place's features with the frame before and with the first frame, mean.

    maps (F, h, w, C) of one film's frames; 1 when nothing changes. After EWMBench, but not its number: that
    code takes the cosine over places, channel by channel, of another encoder's features.
    """
    if len(maps) < 2:
        raise KinemaError("scene consistency needs at least two frames")
    unit = _unit(maps)
    before = (unit[1:] * unit[:-1]).sum(-1).mean((1, 2))
    first = (unit[1:] * unit[:1]).sum(-1).mean((1, 2))
    return float(((np.maximum(before, 0) + np.maximum(first, 0)) / 2).mean())


def film_embedding(maps: np.ndarray) -> np.ndarray:
    """One film (F, h, w, C) as a vector (2 C,): what is seen on average, and how much it changes."""
    pooled = maps.mean((1, 2))
    return np.concatenate([pooled.mean(0), np.abs(np.diff(pooled, axis=0)).mean(0)])


def frechet_distance(films: np.ndarray, true: np.ndarray) -> float:
    """Between two Gaussians fitted to embeddings (N, D): |difference of means|² + tr(A + B - 2 (A B)^½).

    Of few films it is too large: compare it only with other sets of as many films of the same scenes.
    """
    if len(films) < 2 or len(true) < 2:
        raise KinemaError(
            f"a Frechet distance needs at least 2 films of each; got {len(films)} and {len(true)}"
        )
    a, b = films.astype(np.float64), true.astype(np.float64)
    return frechet_of_gaussians(a.mean(0), _covariance(a), b.mean(0), _covariance(b))


def frechet_of_gaussians(
    mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray
) -> float:
    """Squared 2-Wasserstein distance of two Gaussians (Dowson & Landau 1982)."""
    root = _square_root(covariance)
    crossed = np.linalg.eigvalsh(root @ other_covariance @ root)
    trace = np.trace(covariance) + np.trace(other_covariance) - 2 * np.sqrt(np.clip(crossed, 0, None)).sum()
    return float(((mean - other_mean) ** 2).sum() + max(0.0, trace))


def _covariance(rows: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(rows, rowvar=False))


def _square_root(symmetric: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def _unit(maps: np.ndarray) -> np.ndarray:
    return maps / np.sqrt((maps**2).sum(-1, keepdims=True) + _EPSILON)
