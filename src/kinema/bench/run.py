"""Run a benchmark in several processes; the result does not depend on how many.

Every finished episode is in the journal before the next one starts, so a killed run resumes where it was.
"""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from kinema.bench.benchmark import Benchmark, TaskSpec
from kinema.bench.episode import EpisodeJob, episode_file_name, episode_seed
from kinema.bench.journal import Journal
from kinema.bench.pool import Pool
from kinema.bench.provenance import describe_run
from kinema.bench.report import write_report
from kinema.bench.results import Results, summarise
from kinema.bench.settings import RunSettings
from kinema.bench.video import video_suffix
from kinema.schema import KinemaError, Result

_VIDEOS_WANTED = 32


def run(settings: RunSettings, out: Path, *, workers: int = 1, quiet: bool = False) -> Results:
    """Play what is missing of the run in `out` and write `out/results.json` and `out/report.html`.

    Raises KinemaError for an unknown task, a policy that cannot be built, or an `out` that holds another run.
    On Ctrl-C the episodes so far are written as incomplete results and KeyboardInterrupt goes on.
    """
    benchmark: Benchmark = settings.benchmark.build()
    specs = _select(benchmark, settings.tasks)
    out = Path(out)
    journal = Journal(out / "episodes.jsonl", settings.identity())
    jobs = _missing_jobs(settings, specs, journal, out)
    pool = Pool(settings, out, min(max(1, workers), len(jobs)))
    try:
        pool.open()
        if jobs:
            journal.begin(describe_run(benchmark, settings, policy=pool.policy_provenance, workers=workers))
        _play_all(pool, jobs, journal, quiet)
    except KeyboardInterrupt:
        if journal.sittings:
            _publish(benchmark.name, settings, specs, journal, out)
        raise
    finally:
        pool.close()
        journal.close()
    return _publish(benchmark.name, settings, specs, journal, out)


def _play_all(pool: Pool, jobs: list[EpisodeJob], journal: Journal, quiet: bool) -> None:
    done = len(journal.records)
    successes = sum(record.result == Result.SUCCESS for record in journal.records.values())
    with tqdm(total=len(jobs) + done, initial=done, disable=quiet, unit="episode", smoothing=0.1) as bar:
        for record in pool.play(jobs):
            journal.append(record)
            successes += record.result == Result.SUCCESS
            bar.update()
            bar.set_postfix_str(f"{record.task}, success {successes / len(journal.records):.1%}")


def _publish(
    name: str, settings: RunSettings, specs: tuple[TaskSpec, ...], journal: Journal, out: Path
) -> Results:
    """Write the results and the report of what the journal holds of the wanted episodes."""
    wanted = {(spec.name, index) for spec in specs for index in range(settings.episodes)}
    records = [journal.records[key] for key in sorted(wanted & journal.records.keys())]
    *earlier, latest = journal.sittings
    provenance = {**latest, "earlier_sittings": earlier} if earlier else latest
    complete = len(records) == len(wanted)
    results = summarise(name, specs, records, complete=complete, provenance=provenance)
    results.save(out / "results.json")
    write_report(out, results, records)
    return results


def _select(benchmark: Benchmark, names: tuple[str, ...]) -> tuple[TaskSpec, ...]:
    specs = benchmark.tasks()
    known = {spec.name for spec in specs}
    unknown = [name for name in names if name not in known]
    if unknown:
        from difflib import get_close_matches

        near = get_close_matches(unknown[0], known, n=4, cutoff=0.3) or sorted(known)[:4]
        raise KinemaError(f"unknown task {unknown[0]!r} of {benchmark.name}; nearest: {near}")
    return tuple(spec for spec in specs if not names or spec.name in names)


def _missing_jobs(
    settings: RunSettings, specs: tuple[TaskSpec, ...], journal: Journal, out: Path
) -> list[EpisodeJob]:
    filmed = -(-_VIDEOS_WANTED // max(1, len(specs)))  # the first episodes of every task
    jobs = []
    for spec in specs:
        for index in range(settings.episodes):
            if (spec.name, index) in journal.records:
                continue
            job = EpisodeJob(task=spec.name, index=index, seed=episode_seed(settings.seed, spec.name, index))
            if index < filmed:
                video = out / "videos" / (episode_file_name(job) + video_suffix())
                job = EpisodeJob(**{**vars(job), "video": str(video)})
            jobs.append(job)
    return jobs
