"""Confidence intervals of a success rate and of a mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def wilson95(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % score interval (low, high) of a binomial rate; (0, 1) when there were no trials.

    Unlike successes/trials ± 2 standard errors it stays inside [0, 1] and does not collapse to a point at
    0 or all successes. Source: Wilson 1927, J. Am. Stat. Assoc. 22(158).
    Raises ValueError for impossible counts.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be between 0 and trials; got {successes} of {trials}")
    if trials == 0:
        return 0.0, 1.0
    rate, z2 = successes / trials, Z95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


def mean95(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """95 % interval (low, high) of the unweighted mean of independent rates, given as (successes, trials).

    The squared distances of the rates from the ends of their Wilson intervals add up as variances do
    (Zou and Donner 2008, Statistics in Medicine 27, "method of variance estimates recovery"). Unlike a
    bootstrap it needs no random numbers and does not collapse where every trial of a rate ended alike.
    (0, 1) of nothing.
    """
    if not counts or any(trials == 0 for _, trials in counts):
        return 0.0, 1.0
    rates = np.array([successes / trials for successes, trials in counts])
    ends = np.array([wilson95(successes, trials) for successes, trials in counts])
    low, high = np.sqrt(np.square(ends - rates[:, None]).sum(0)) / len(rates)
    mean = float(rates.mean())
    return max(0.0, mean - float(low)), min(1.0, mean + float(high))


def bootstrap95(values: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval (low, high) of the mean; (nan, nan) of nothing.

    A function of the values and the seed alone: the order does not matter.
    """
    if not len(values):
        return math.nan, math.nan
    ordered = np.sort(np.asarray(values, np.float64))
    picks = np.random.default_rng([seed, len(ordered)]).integers(0, len(ordered), (resamples, len(ordered)))
    low, high = np.percentile(ordered[picks].mean(1), [2.5, 97.5])
    return float(low), float(high)
