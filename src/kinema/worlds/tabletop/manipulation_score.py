"""DOMINO's manipulation score: how near the hand came to what moves, less what it broke on the way.

The published definition (H-EmbodVis/DOMINO, script/eval_metrics.py): MS = RC times its penalties, where the
route completion RC is 100 for a success, and for a failure 100 times the share of its first distance to the
target's last position that the best arm has covered. All positions in metres.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

OUT_OF_BOUNDS = 0.5  # the target left the work area untouched
CLUTTER_TOUCHED = 0.8  # for each thing that is not of the task
_BEGAN_AT_IT_M, _STAYED_AT_IT_M = 0.01, 0.05


def route_completion(
    success: bool, first_m: Sequence[np.ndarray], last_m: Sequence[np.ndarray], target_m: np.ndarray
) -> float:
    """0 to 100. first_m, last_m: each arm's tool (3,); target_m: where the target was last, or left (3,)."""
    if success:
        return 100.0
    return 100.0 * max(_covered(first, last, target_m) for first, last in zip(first_m, last_m, strict=True))


def _covered(first_m: np.ndarray, last_m: np.ndarray, target_m: np.ndarray) -> float:
    before, after = (float(np.linalg.norm(tool - target_m)) for tool in (first_m, last_m))
    if before < _BEGAN_AT_IT_M:
        return 1.0 if after < _STAYED_AT_IT_M else 0.5
    return float(np.clip((before - after) / before, 0.0, 1.0))


def manipulation_score(completion: float, *, out_of_bounds: bool, clutter_touched: int) -> float:
    """0 to 100, of a route completion and what is fined."""
    return completion * (OUT_OF_BOUNDS if out_of_bounds else 1.0) * CLUTTER_TOUCHED**clutter_touched
