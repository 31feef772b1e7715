"""Run a benchmark in several processes; the result depends neither on how many nor on where they are.

Every finished episode is in the journal before the next one starts, so a killed run resumes where it was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kinema.bench.benchmark import Benchmark, TaskSpec
from kinema.bench.episode import EpisodeJob, EpisodeRecord, episode_file_name, episode_seed, error_record
from kinema.bench.journal import Journal
from kinema.bench.provenance import describe_run, sitting_warnings
from kinema.bench.report import write_report
from kinema.bench.results import Results, summarise
from kinema.bench.settings import RunSettings
from kinema.bench.video import video_suffix
from kinema.bench.worker import ERRORS, Played, Playing
from kinema.pool.backend import backend
from kinema.pool.pool import Lost, Pool
from kinema.schema import KinemaError, Result

_VIDEOS_WANTED = 32


def run(
    settings: RunSettings, out: Path, *, workers: int = 1, quiet: bool = False, ray: str | None = None
) -> Results:
    """Play what is missing of the run in `out` and write `out/results.json` and `out/report.html`.

    ray: the address of a cluster on whose nodes the workers are, see `kinema.pool.on_ray`
    Raises KinemaError for an unknown task, a policy that cannot be built, or an `out` that holds another run,
    one of other weights, or one that is going on. What was played until then is published as incomplete, as
    it is on Ctrl-C, after which KeyboardInterrupt goes on.
    """
    benchmark: Benchmark = settings.benchmark.build()
    specs = select_tasks(benchmark, settings.tasks)
    out = Path(out)
    identity = settings.identity()
    with closing(Journal(out / "episodes.jsonl", identity, EpisodeRecord)) as journal:
        jobs = _missing_jobs(settings, specs, journal)
        try:
            playing = _playing(settings, out, identity)
            count = min(max(1, workers), len(jobs))
            with Pool(
                backend(ray), playing, count, limit_s=settings.episode_limit_s, kind=lambda job: job.task
            ) as pool:
                if jobs:
                    told = describe_run(benchmark, settings, identity, policy=pool.said, workers=workers)
                    told |= pool.about
                    _check_same_policy(journal, told, identity)
                    journal.begin(told)
                _play_all(pool, jobs, journal, out, quiet)
        except (KeyboardInterrupt, KinemaError):
            if journal.sittings:
                _publish(benchmark.name, settings, specs, journal, out)
            raise
        return _publish(benchmark.name, settings, specs, journal, out)


def _playing(settings: RunSettings, out: Path, identity: Mapping[str, Any]) -> Playing:
    return Playing(
        benchmark=settings.benchmark, policy=settings.policy, play=settings.play, out=str(out),
        replan_steps=settings.replan_steps, made_by=identity["made_by"],
    )  # fmt: skip


def _play_all(
    pool: Pool[EpisodeJob, Played], jobs: list[EpisodeJob], journal: Journal[EpisodeRecord], out: Path,
    quiet: bool,
) -> None:  # fmt: skip
    kept = [record for key, record in journal.records.items() if key not in {(j.task, j.index) for j in jobs}]
    counts = Counter(record.result for record in kept)
    with tqdm(
        total=len(jobs) + len(kept), initial=len(kept), disable=quiet, unit="episode", smoothing=0.1
    ) as bar:
        for job, played in pool.run(jobs):
            if isinstance(played, Lost):
                record = error_record(job, played.cause, played.cause, out / ERRORS)
            else:
                played.write_files(out)
                record = played.record
            journal.append(record)
            counts[record.result] += 1
            bar.update()
            errors = f", {counts[Result.ERROR]} errors" if counts[Result.ERROR] else ""
            bar.set_postfix_str(f"{record.task}, {counts[Result.SUCCESS]} of {counts.total()} solved{errors}")


def _check_same_policy(
    journal: Journal[EpisodeRecord], told: Mapping[str, Any], identity: Mapping[str, Any]
) -> None:
    """A policy whose files we do not know must say the same of itself as when the run began."""
    if not journal.sittings or "policy" in identity["made_by"]:
        return
    before, now = journal.sittings[-1].get("policy"), json.loads(json.dumps(told["policy"], default=str))
    if before != now:
        raise KinemaError(
            f"{journal.path} was begun with another policy: it said {before}, now it says {now}. "
            "A result is of one policy: choose another --out"
        )


def _publish(
    name: str,
    settings: RunSettings,
    specs: tuple[TaskSpec, ...],
    journal: Journal[EpisodeRecord],
    out: Path,
) -> Results:
    """Write the results and the report of what the journal holds of the wanted episodes."""
    wanted = {(spec.name, index) for spec in specs for index in settings.indices}
    records = [journal.records[key] for key in sorted(wanted & journal.records.keys())]
    *earlier, latest = journal.sittings
    provenance = {**latest, "earlier_sittings": earlier} if earlier else latest
    results = summarise(
        name,
        specs,
        records,
        complete=len(records) == len(wanted),
        provenance=provenance | ({"retried_errors": journal.retried} if journal.retried else {}),
        warnings=sitting_warnings(journal.sittings),
    )
    results.save(out / "results.json")
    write_report(out, results, records)
    return results


def select_tasks(benchmark: Benchmark, names: tuple[str, ...]) -> tuple[TaskSpec, ...]:
    """The benchmark's tasks of these names, or all. Raises KinemaError for an unknown name."""
    specs = benchmark.tasks()
    known = {spec.name for spec in specs}
    unknown = [name for name in names if name not in known]
    if unknown:
        from difflib import get_close_matches

        near = get_close_matches(unknown[0], known, n=4, cutoff=0.3) or sorted(known)[:4]
        raise KinemaError(f"unknown task {unknown[0]!r} of {benchmark.name}; nearest: {near}")
    return tuple(spec for spec in specs if not names or spec.name in names)


def _missing_jobs(
    settings: RunSettings, specs: tuple[TaskSpec, ...], journal: Journal[EpisodeRecord]
) -> list[EpisodeJob]:
    filmed = -(-_VIDEOS_WANTED // max(1, len(specs)))  # the first episodes of every task
    jobs = []
    for spec in specs:
        for index in settings.indices:
            played = journal.records.get((spec.name, index))
            if played and not (settings.retry_errors and played.result == Result.ERROR):
                continue
            job = EpisodeJob(task=spec.name, index=index, seed=episode_seed(settings.seed, spec.name, index))
            if index < settings.first + filmed:
                job = replace(job, video=f"videos/{episode_file_name(job)}{video_suffix()}")
            jobs.append(job)
    return jobs
