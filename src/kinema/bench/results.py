"""From episode records to the numbers that are published."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from kinema.bench.benchmark import TaskSpec
from kinema.bench.episode import EpisodeRecord
from kinema.bench.metrics.intervals import mean95, wilson95
from kinema.schema import Result


@dataclass(frozen=True, kw_only=True)
class Results:
    """What `results.json` holds.

    Every count has two rates. `success_rate` leaves errors out, for a crash says nothing of what was tried;
    `published_rate` counts them as failures, so that a policy gains nothing by crashing where it would fail.
    The means are of published rates. Where not one episode was scored there is no rate, and no mean that it
    would belong to. `measures` of a count are the means of what its scored episodes measured.

    mean_of_groups: over the groups of the first kind that have episodes
    first_error:    task, index and cause of one of the errors
    warnings:       what a reader should know before believing the numbers
    baselines:      by name, what random motion, no motion and the expert reach in the same scenes
    """

    benchmark: str
    tasks: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Mapping[str, Any]]
    overall: Mapping[str, Any]
    mean_of_groups: float | None
    mean_of_tasks: float | None
    complete: bool
    provenance: Mapping[str, Any]
    mean_of_groups_ci95: Sequence[float] | None = None
    mean_of_tasks_ci95: Sequence[float] | None = None
    first_error: Mapping[str, Any] | None = None
    warnings: Sequence[str] = field(default_factory=list)
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(vars(self), indent=1, sort_keys=False) + "\n")
        partial.replace(path)

    @staticmethod
    def load(path: Path) -> Results:
        """Read what `save` wrote."""
        return Results(**json.loads(path.read_text()))


def summarise(
    benchmark: str,
    specs: Iterable[TaskSpec],
    records: Iterable[EpisodeRecord],
    *,
    complete: bool,
    provenance: Mapping[str, Any],
    warnings: Sequence[str] = (),
) -> Results:
    """Count by task and by group of every kind; the first kind gives the mean of groups."""
    specs, records = tuple(specs), tuple(records)
    by_task: dict[str, list[EpisodeRecord]] = {spec.name: [] for spec in specs}
    for record in records:
        if record.task in by_task:
            by_task[record.task].append(record)
    tasks = {spec.name: _count(by_task[spec.name]) | {"groups": dict(spec.groups)} for spec in specs}
    groups: dict[str, dict[str, Any]] = {}
    for (kind, value), members in _members(specs).items():
        name = value if value not in groups else f"{kind}:{value}"
        counted = _count([record for m in members for record in by_task[m]])
        groups[name] = {
            "kind": kind,
            **counted,
            "mean_of_tasks": _mean([tasks[m] for m in members]),
            "tasks": len(members),
        }
    first_kind = next(iter(specs[0].groups), None) if specs else None
    headline = [group for group in groups.values() if group["kind"] == first_kind]
    return Results(
        benchmark=benchmark,
        tasks=tasks,
        groups=groups,
        overall=_count([record for found in by_task.values() for record in found]),
        mean_of_groups=_mean(headline),
        mean_of_groups_ci95=_mean_interval(headline),
        mean_of_tasks=_mean(list(tasks.values())),
        mean_of_tasks_ci95=_mean_interval(list(tasks.values())),
        complete=complete,
        provenance=provenance,
        first_error=_first_error(records),
        warnings=list(warnings),
    )


def _members(specs: tuple[TaskSpec, ...]) -> dict[tuple[str, str], list[str]]:
    members: dict[tuple[str, str], list[str]] = {}
    kinds = list(dict.fromkeys(kind for spec in specs for kind in spec.groups))
    for kind in kinds:
        for spec in specs:
            if kind in spec.groups:
                members.setdefault((kind, spec.groups[kind]), []).append(spec.name)
    return members


def _count(records: list[EpisodeRecord]) -> dict[str, Any]:
    successes = sum(record.result == Result.SUCCESS for record in records)
    errors = sum(record.result == Result.ERROR for record in records)
    judged = len(records) - errors
    steps = [record.steps for record in records if record.result == Result.SUCCESS]
    return {
        "successes": successes,
        "failures": judged - successes,
        "errors": errors,
        "episodes": len(records),
        "published_rate": round(successes / len(records), 6) if judged else None,
        "published_ci95": _interval(successes, len(records) if judged else 0),
        "success_rate": round(successes / judged, 6) if judged else None,
        "ci95": _interval(successes, judged),
        "mean_steps_of_successes": round(fmean(steps), 1) if steps else None,
        "measures": _mean_measures([record for record in records if record.result != Result.ERROR]),
    }


def _mean_measures(records: Sequence[EpisodeRecord]) -> dict[str, float]:
    """The mean of every measure that all of the records have."""
    shared = set.intersection(*(set(record.measures) for record in records)) if records else set()
    return {
        name: round(fmean(record.measures[name] for record in records), 6)
        for name in (records[0].measures if records else ())
        if name in shared
    }


def _interval(successes: int, episodes: int) -> list[float]:
    return [round(end, 6) for end in wilson95(successes, episodes)]


def _mean(counts: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean of the published rates; None when nothing was scored in one that has episodes."""
    rates = _rates(counts)
    return round(math.fsum(rates) / len(rates), 6) if rates else None


def _mean_interval(counts: Sequence[Mapping[str, Any]]) -> list[float] | None:
    rates = _rates(counts)
    tried = [(count["successes"], count["episodes"]) for count in counts if count["episodes"]]
    return [round(end, 6) for end in mean95(tried)] if rates else None


def _rates(counts: Sequence[Mapping[str, Any]]) -> list[float]:
    rates = [count["published_rate"] for count in counts if count["episodes"]]
    return [] if None in rates else rates


def _first_error(records: Sequence[EpisodeRecord]) -> dict[str, Any] | None:
    for record in records:
        if record.result == Result.ERROR:
            return {"task": record.task, "index": record.index, "cause": record.cause}
    return None
