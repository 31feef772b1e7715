"""`kinema eval … --baseline`: random, hold and the expert in the same scenes, and what that says of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kinema.commands.eval.judged import Sitting, finish, rate_cells, saving, seed_line
from kinema.commands.policies import policy_factory
from kinema.commands.terminal import say_error, table, writable

if TYPE_CHECKING:
    from kinema.bench.results import Results
    from kinema.bench.settings import RunSettings

EXPERT = "expert"
BASELINES = ("random", "hold", EXPERT)


def judge_baselines(settings: RunSettings, sitting: Sitting) -> None:
    """Play them instead of a policy; print their table and where their results are.

    Exits with 1 when an episode was an error, or when the benchmark is broken.
    """
    with saving(writable(sitting.out)):
        played = _play(settings, sitting)
    first = next(iter(played.values()))
    print(baselines_table(played))
    print(seed_line(first))
    for name in played:
        print(f"results: {sitting.out / 'baselines' / name / 'results.json'}")
    conclude(sitting.out, _beside(played), *played.values())


def with_baselines(results: Results, settings: RunSettings, sitting: Sitting) -> Results:
    """A policy's results, saved and reported again with what the baselines reach in its scenes."""
    from kinema.bench.journal import read_records
    from kinema.bench.report import write_report

    played = _play(settings, sitting)
    first = [one.first_error for one in (results, *played.values()) if one.first_error]
    results = replace(results, baselines=_beside(played), first_error=next(iter(first), None))
    results.save(sitting.out / "results.json")
    kept = [r for r in read_records(sitting.out) if r.task in results.tasks and r.index in settings.indices]
    write_report(sitting.out, results, kept)
    return results


def conclude(out: Path, baselines: Mapping[str, Mapping[str, Any]], *results: Results) -> None:
    """As `finish`, and first one line about what keeps the benchmark from being believed, which exits with 1.

    baselines: as `Results.baselines`; where it is empty nothing is judged
    """
    from kinema.bench.soundness import faults

    broken = list(faults(baselines))
    if broken:
        say_error(f"{results[0].benchmark} is broken: {'; '.join(broken)}")
    finish(out, *results)
    if broken:
        raise typer.Exit(1)


def baselines_table(played: Mapping[str, Results]) -> str:
    """Success and its interval by group of every kind, a column for each baseline."""
    names = dict.fromkeys(name for one in played.values() for name in one.groups)
    kinds = {name: one.groups[name]["kind"] for one in played.values() for name in one.groups}
    rows = [(kinds[name], name, *(_cell(one.groups.get(name)) for one in played.values())) for name in names]
    rows.append(("", "all episodes", *(_cell(one.overall) for one in played.values())))
    return table(rows, ("by", "group", *played))


def _cell(count: Mapping[str, Any] | None) -> str:
    if count is None:
        return "-"
    rate, interval, episodes, *_ = rate_cells(count)
    return f"{rate} of {episodes} ({interval})"


def _play(settings: RunSettings, sitting: Sitting) -> dict[str, Results]:
    """Each in a folder of its own, the expert in the tasks that have one; says which have none."""
    from kinema.bench.run import run

    played = {}
    for name in BASELINES:
        one = replace(settings, policy=policy_factory(name), retry_errors=sitting.retry_errors)
        if name == EXPERT:
            with_expert = _tasks_with_expert(settings)
            if not with_expert:
                continue
            one = replace(one, tasks=with_expert)
        folder = sitting.out / "baselines" / name
        played[name] = run(one, folder, workers=sitting.workers, ray=sitting.ray)
    return played


def _tasks_with_expert(settings: RunSettings) -> tuple[str, ...]:
    from kinema.bench.run import select_tasks

    benchmark = settings.benchmark.build()
    specs = select_tasks(benchmark, settings.tasks)
    able = tuple(spec.name for spec in specs if spec.expert)
    if missing := len(specs) - len(able):
        which = "" if not able else f" for {missing} of {len(specs)} tasks"
        print(f"note: {benchmark.name} has no expert{which}", file=sys.stderr)
    return able


def _beside(played: Mapping[str, Results]) -> dict[str, dict[str, Any]]:
    """As `Results.baselines` holds them."""
    return {
        name: {"overall": one.overall, "groups": one.groups, "tasks": one.tasks}
        for name, one in played.items()
    }
