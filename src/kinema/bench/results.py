"""From episode records to the numbers that are published."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from kinema.bench.benchmark import TaskSpec
from kinema.bench.episode import EpisodeRecord
from kinema.bench.metrics.intervals import wilson95
from kinema.schema import Result


@dataclass(frozen=True, kw_only=True)
class Results:
    """What `results.json` holds. Rates leave out errors: a crash is neither a success nor a failure."""

    benchmark: str
    tasks: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Mapping[str, Any]]
    overall: Mapping[str, Any]
    mean_of_groups: float | None  # over the groups of the first kind; None before any episode was judged
    mean_of_tasks: float | None
    complete: bool
    provenance: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(vars(self), indent=1, sort_keys=False) + "\n")
        partial.replace(path)

    @staticmethod
    def load(path: Path) -> Results:
        return Results(**json.loads(path.read_text()))


def summarise(
    benchmark: str,
    specs: Iterable[TaskSpec],
    records: Iterable[EpisodeRecord],
    *,
    complete: bool,
    provenance: Mapping[str, Any],
) -> Results:
    """Count by task and by group of every kind; the first kind gives the mean of groups."""
    specs = tuple(specs)
    by_task: dict[str, list[EpisodeRecord]] = {spec.name: [] for spec in specs}
    for record in records:
        if record.task in by_task:
            by_task[record.task].append(record)
    tasks = {spec.name: _count(by_task[spec.name]) | {"groups": dict(spec.groups)} for spec in specs}
    groups: dict[str, dict[str, Any]] = {}
    for (kind, value), members in _members(specs).items():
        name = value if value not in groups else f"{kind}:{value}"
        rates = [tasks[m]["success_rate"] for m in members if tasks[m]["success_rate"] is not None]
        counted = _count([record for m in members for record in by_task[m]])
        groups[name] = {"kind": kind, **counted, "mean_of_tasks": _mean(rates), "tasks": len(members)}
    first_kind = next(iter(specs[0].groups), None) if specs else None
    return Results(
        benchmark=benchmark,
        tasks=tasks,
        groups=groups,
        overall=_count([record for found in by_task.values() for record in found]),
        mean_of_groups=_mean([g["success_rate"] for g in groups.values() if g["kind"] == first_kind]),
        mean_of_tasks=_mean([t["success_rate"] for t in tasks.values()]),
        complete=complete,
        provenance=provenance,
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
    low, high = wilson95(successes, judged)
    steps = [record.steps for record in records if record.result == Result.SUCCESS]
    return {
        "successes": successes,
        "failures": judged - successes,
        "errors": errors,
        "episodes": len(records),
        "success_rate": round(successes / judged, 6) if judged else None,
        "ci95": [round(low, 6), round(high, 6)],
        "mean_steps_of_successes": round(fmean(steps), 1) if steps else None,
    }


def _mean(rates: list[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return round(math.fsum(known) / len(known), 6) if known else None
