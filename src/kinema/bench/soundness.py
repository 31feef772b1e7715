"""Whether a benchmark can be believed: its own expert solves it, and doing nothing does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kinema.bench.metrics.intervals import wilson95

EXPERT_AT_LEAST = 0.90
HOLD_AT_MOST = 0.02

Counts = Mapping[str, Any]  # as one task, or all episodes, in `Results`


def faults(baselines: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with a benchmark by what its baselines reached (`Results.baselines`), a sentence each.

    The bounds hold for all episodes together. A single task has few, so it is at fault only when its whole
    95 % interval lies beyond its bound. Errors count as no success.
    """
    if expert := baselines.get("expert"):
        worst = min(expert["tasks"], key=lambda task: _rate(expert["tasks"][task]))
        too_low = _rate(expert["overall"]) < EXPERT_AT_LEAST
        if too_low or any(_interval(count)[1] < EXPERT_AT_LEAST for count in expert["tasks"].values()):
            yield _sentence("the expert", expert, worst, f"at least {EXPERT_AT_LEAST:.0%}")
    if hold := baselines.get("hold"):
        worst = max(hold["tasks"], key=lambda task: _rate(hold["tasks"][task]))
        too_high = _rate(hold["overall"]) > HOLD_AT_MOST
        if too_high or any(_interval(count)[0] > HOLD_AT_MOST for count in hold["tasks"].values()):
            yield _sentence("doing nothing", hold, worst, f"at most {HOLD_AT_MOST:.0%}")


def _sentence(who: str, baseline: Mapping[str, Any], worst: str, bound: str) -> str:
    task, everything = baseline["tasks"][worst], baseline["overall"]
    return (
        f"{who} solves {task['successes']} of {task['episodes']} of {worst} ({_rate(task):.0%}) and "
        f"{_rate(everything):.1%} of all; asked is {bound}"
    )


def _rate(count: Counts) -> float:
    return float(count["successes"] / count["episodes"])


def _interval(count: Counts) -> tuple[float, float]:
    return wilson95(count["successes"], count["episodes"])
