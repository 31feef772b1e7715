"""Run a benchmark in several processes; the result does not depend on how many.

Every finished episode is in the journal before the next one starts, so a killed run resumes where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kinema.bench.benchmark import Benchmark, Factory, TaskSpec
from kinema.bench.episode import EpisodeJob, EpisodeRecord, episode_file_name, episode_seed, error_record
from kinema.bench.journal import Journal
from kinema.bench.provenance import describe_run
from kinema.bench.report import write_report
from kinema.bench.results import Results, summarise
from kinema.bench.video import video_suffix
from kinema.bench.worker import THREAD_LIMITS, WorkerSettings, work
from kinema.schema import KinemaError, Result

_SPAWN = get_context("spawn")
_VIDEOS_WANTED = 32


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What decides the result, except the machine. `episodes` is per task; no `tasks` means all of them.

    play: builds what plays an episode in place of `play_episode`
    """

    benchmark: Factory
    policy: Factory
    episodes: int = 10
    seed: int = 0
    replan_steps: int = 8
    tasks: tuple[str, ...] = ()
    play: Factory | None = None
    episode_limit_s: float = 900.0  # wall time after which a hanging episode becomes an error

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise KinemaError(f"episodes must be at least 1; got {self.episodes}")

    def identity(self) -> dict[str, Any]:
        """The part that two halves of one run must share; `episodes` and `tasks` may grow."""
        settings = {
            "benchmark": asdict(self.benchmark),
            "policy": asdict(self.policy),
            "seed": self.seed,
            "replan_steps": self.replan_steps,
        }
        return settings | ({"play": asdict(self.play)} if self.play else {})


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
    pool = _Pool(settings, out, min(max(1, workers), len(jobs)))
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


def _play_all(pool: _Pool, jobs: list[EpisodeJob], journal: Journal, quiet: bool) -> None:
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


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: EpisodeJob | None = None
    started_s: float = 0.0


class _Pool:
    """Processes that play jobs. One that dies costs its episode (an error) and is replaced."""

    def __init__(self, settings: RunSettings, out: Path, count: int) -> None:
        self._count = count
        self._limit_s = settings.episode_limit_s
        self._errors_dir = out / "errors"
        self._settings = WorkerSettings(
            benchmark=settings.benchmark,
            policy=settings.policy,
            replan_steps=settings.replan_steps,
            errors_dir=str(self._errors_dir),
            play=settings.play,
        )
        self._workers: list[_Worker] = []
        self.policy_provenance: dict[str, Any] = {}

    def open(self) -> None:
        """Start the processes; afterwards `policy_provenance` is what the policy says of itself."""
        self._workers = [self._start() for _ in range(self._count)]
        for worker in self._workers:
            self._greet(worker)

    def play(self, jobs: list[EpisodeJob]) -> Iterator[EpisodeRecord]:
        """Yield a record for every job, in the order in which they finish."""
        waiting = list(jobs)
        for worker in self._workers:
            self._give(worker, waiting)
        while busy := [worker for worker in self._workers if worker.job]:
            ready = connection.wait([worker.pipe for worker in busy], timeout=1.0)
            for worker in busy:
                if worker.pipe in ready:
                    yield self._collect(worker)
                elif time.monotonic() - worker.started_s > self._limit_s:
                    worker.process.kill()
                    worker.process.join()
                    yield self._bury(worker, f"ran longer than {self._limit_s:g} s and was stopped")
                else:
                    continue
                self._give(worker, waiting)

    def _start(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        with _one_thread_each():
            process = _SPAWN.Process(target=work, args=(theirs, self._settings), daemon=True)
            process.start()
        theirs.close()
        return _Worker(process=process, pipe=ours)

    def _greet(self, worker: _Worker) -> None:
        try:
            word, content = worker.pipe.recv()
        except EOFError:
            worker.process.join()
            raise KinemaError(
                f"a worker died while it was starting (exit code {worker.process.exitcode}); see above"
            ) from None
        if word != "ready":
            raise KinemaError(content)
        self.policy_provenance = content

    def _give(self, worker: _Worker, waiting: list[EpisodeJob]) -> None:
        """The next job, of the worker's own task if there is one left: environments are dear to open."""
        previous, worker.job = worker.job, None
        if not waiting:
            return
        taken = {other.job.task for other in self._workers if other.job}
        own = (i for i, job in enumerate(waiting) if previous and job.task == previous.task)
        fresh = (i for i, job in enumerate(waiting) if job.task not in taken)
        worker.job = waiting.pop(next(own, next(fresh, 0)))
        worker.started_s = time.monotonic()
        worker.pipe.send(worker.job)

    def _collect(self, worker: _Worker) -> EpisodeRecord:
        try:
            return worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            return self._bury(worker, f"the worker process died with exit code {worker.process.exitcode}")

    def _bury(self, worker: _Worker, cause: str) -> EpisodeRecord:
        """An error record for the job the worker had; a new process takes its place."""
        assert worker.job is not None
        record = error_record(worker.job, cause, cause, self._errors_dir)
        fresh = self._start()
        self._greet(fresh)
        worker.pipe.close()
        worker.process, worker.pipe = fresh.process, fresh.pipe
        return record

    def close(self) -> None:
        """Send everybody home; whoever is in the middle of an episode is stopped."""
        for worker in self._workers:
            if worker.job is None and worker.process.is_alive():
                worker.pipe.send(None)
            else:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=10)
            worker.pipe.close()
        self._workers = []


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Numeric libraries read these when they are first imported, so the children must be born with them."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
