"""A threshold on a score so that the rate of missed harm stays below a chosen one, with a stated confidence.

A chunk is allowed when its score is below the threshold; a harmful chunk that is allowed is a miss. Misses
can only grow with the threshold, so the largest threshold whose upper confidence bound on the miss rate is
below the chosen rate keeps the promise (Bates et al. 2021, "Distribution-free, risk-controlling prediction
sets", arXiv 2101.02703; in expectation instead: Angelopoulos et al. 2022, "Conformal risk control", arXiv
2208.02814). What it promises holds for chunks drawn as the calibration's were.

Episodes are independent of each other, the chunks of one are not: each episode gives one harmful chunk,
drawn at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinema.schema import KinemaError


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """limit: the score from which a chunk is refused. chunks: independent harmful chunks it was set on."""

    limit: float
    miss_rate: float
    confidence: float
    chunks: int
    misses: int
    bound: float  # upper bound of the miss rate at this confidence

    def to_json(self) -> dict[str, float]:
        return dict(vars(self))


def calibrate(
    scores: np.ndarray, harmful: np.ndarray, episode: np.ndarray, *, miss_rate: float, confidence: float,
    seed: int = 0,
) -> Threshold:  # fmt: skip
    """The largest threshold that keeps the promise, from scores, harm and episode numbers (N,) of chunks.

    Raises KinemaError when too few episodes have harm in them to promise this.
    """
    if not (0 < miss_rate < 1 and 0 < confidence < 1):
        raise KinemaError(f"miss rate {miss_rate} and confidence {confidence} must lie between 0 and 1")
    chosen = np.sort(one_per_episode(scores, harmful, episode, seed))
    allowed = most_misses(len(chosen), miss_rate, confidence)
    if allowed < 0:
        least = math.ceil(math.log(1 - confidence) / math.log(1 - miss_rate))
        raise KinemaError(
            f"{len(chosen)} harmful episodes cannot promise {miss_rate:.2%} of misses at a confidence of "
            f"{confidence:.0%}; at least {least} are needed"
        )
    # below the (allowed + 1)-th smallest harmful score lie at most `allowed` of them
    limit = float(chosen[allowed])
    misses = int((chosen < limit).sum())
    return Threshold(
        limit=limit, miss_rate=miss_rate, confidence=confidence, chunks=len(chosen), misses=misses,
        bound=upper_bound(misses, len(chosen), confidence),
    )  # fmt: skip


def one_per_episode(scores: np.ndarray, harmful: np.ndarray, episode: np.ndarray, seed: int) -> np.ndarray:
    """The score of one harmful chunk of each episode that has any (n,)."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(harmful)
    rows = rows[rng.permutation(len(rows))]
    _, first = np.unique(episode[rows], return_index=True)
    return scores[rows[first]]


def most_misses(chunks: int, miss_rate: float, confidence: float) -> int:
    """How many misses may be seen so that the bound still holds; -1 when not even none is enough."""
    misses = -1
    while misses + 1 < chunks and upper_bound(misses + 1, chunks, confidence) <= miss_rate:
        misses += 1
    return misses


def upper_bound(misses: int, chunks: int, confidence: float) -> float:
    """The exact one-sided upper confidence bound of a rate (Clopper and Pearson 1934)."""
    if not 0 <= misses <= chunks:
        raise ValueError(f"misses must be between 0 and {chunks}, got {misses}")
    if chunks == 0 or misses == chunks:
        return 1.0
    low, high = misses / chunks, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(misses, chunks, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def lower_bound(misses: int, chunks: int, confidence: float) -> float:
    """The exact one-sided lower confidence bound of a rate."""
    return 1.0 - upper_bound(chunks - misses, chunks, confidence) if chunks else 0.0


def _at_most(misses: int, chunks: int, rate: float) -> float:
    """The probability of at most so many misses at a rate."""
    if rate <= 0:
        return 1.0
    if rate >= 1:
        return float(misses >= chunks)
    log = [
        math.lgamma(chunks + 1) - math.lgamma(k + 1) - math.lgamma(chunks - k + 1)
        + k * math.log(rate) + (chunks - k) * math.log1p(-rate)
        for k in range(misses + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(math.exp(value) for value in log))
