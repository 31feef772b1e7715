"""Where what a true picture shows at a place is found in another picture: normalised cross correlation.

It needs no detector and knows no robot: a square of the true picture is laid over the other one at every
place of a window, and the place where they agree most is where the thing is taken to be. Pictures are uint8
(S, S, 3); u runs right and v down, in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HALF_PX, WINDOW_PX = 8, 12  # half the square's side, and how far it is moved to each side
_FLAT = 1e-6  # squared deviation below which a square has nothing that could be found


@dataclass(frozen=True, kw_only=True)
class Found:
    """offset_px: u, v (2,) from the true place; agreement: correlation there, 1 at most."""

    offset_px: np.ndarray
    agreement: float

    @property
    def distance_px(self) -> float:
        return float(np.linalg.norm(self.offset_px))


def find_patch(picture: np.ndarray, true: np.ndarray, place_px: np.ndarray) -> Found:
    """The square of `true` around u, v (2,), found in `picture`; to a fraction of a pixel.

    Beyond the border the edge is repeated. Where nothing stands out in either picture the agreement is 0, and
    of equally good places the first is taken.
    """
    u, v = np.round(place_px).astype(int)
    side = 2 * HALF_PX + 1
    patch = _around(true, u, v, HALF_PX)
    region = _around(picture, u, v, HALF_PX + WINDOW_PX)
    windows = np.lib.stride_tricks.sliding_window_view(region, (side, side), axis=(0, 1))  # (w, w, 3, s, s)
    windows = windows - windows.mean((-3, -2, -1), keepdims=True)
    patch = (patch - patch.mean()).transpose(2, 0, 1)
    power = (windows**2).sum((-3, -2, -1)) * (patch**2).sum()
    scores = np.einsum("ijcvu,cvu->ij", windows, patch) / np.sqrt(np.maximum(power, _FLAT))
    row, column = np.unravel_index(int(scores.argmax()), scores.shape)
    offset = np.array([_peak(scores[row], int(column)), _peak(scores[:, column], int(row))]) - WINDOW_PX
    return Found(offset_px=offset, agreement=float(scores[row, column]))


def _around(picture: np.ndarray, u: int, v: int, reach: int) -> np.ndarray:
    """float64 (2 * reach + 1, 2 * reach + 1, 3) with u, v in the middle."""
    padded = np.pad(picture.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    return padded[v : v + 2 * reach + 1, u : u + 2 * reach + 1]


def _peak(scores: np.ndarray, at: int) -> float:
    """Where the parabola through the best score and its neighbours is highest."""
    if not 0 < at < len(scores) - 1:
        return float(at)
    before, best, after = scores[at - 1 : at + 2]
    bend = before - 2 * best + after
    return float(at) if bend > -1e-12 else at + 0.5 * float(before - after) / float(bend)
