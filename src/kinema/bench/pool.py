"""The processes in which episodes are played."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from kinema.bench.episode import EpisodeJob, EpisodeRecord, error_record
from kinema.bench.settings import RunSettings
from kinema.bench.worker import THREAD_LIMITS, WorkerSettings, work
from kinema.card.load import own_cards
from kinema.schema import KinemaError

_SPAWN = get_context("spawn")
_STARTS = 3  # processes that die at birth, one after the other, until the run gives up


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: EpisodeJob | None = None
    started_s: float = 0.0


class Pool:
    """Processes that play jobs. One that dies costs its episode (an error) and is replaced.

    made_by: the digests that every process must find on the disk (`identity.made_by`)
    """

    def __init__(
        self, settings: RunSettings, out: Path, count: int, made_by: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._count = count
        self._limit_s = settings.episode_limit_s
        self._errors_dir = out / "errors"
        self._settings = WorkerSettings(
            benchmark=settings.benchmark,
            policy=settings.policy,
            replan_steps=settings.replan_steps,
            errors_dir=str(self._errors_dir),
            play=settings.play,
            cards=own_cards(),
            made_by=made_by,
        )
        self._workers: list[_Worker] = []
        self._failed_starts = 0  # in a row
        self.policy_provenance: dict[str, Any] = {}

    def open(self) -> None:
        """Start the processes; afterwards `policy_provenance` is what the policy says of itself."""
        self._workers = [self._start() for _ in range(self._count)]
        for worker in self._workers:
            self._greet(worker)

    def play(self, jobs: list[EpisodeJob]) -> Iterator[EpisodeRecord]:
        """Yield a record for every job, in the order in which they finish.

        Raises KinemaError when processes that died cannot be replaced, or find other weights than the rest.
        """
        waiting = list(jobs)
        for worker in self._workers:
            self._give(worker, waiting)
        while busy := [worker for worker in self._workers if worker.job]:
            ready = connection.wait([worker.pipe for worker in busy], timeout=1.0)
            for worker in busy:
                if worker.pipe in ready:
                    record = self._collect(worker)
                elif time.monotonic() - worker.started_s > self._limit_s:
                    worker.process.kill()
                    record = self._bury(worker, f"ran longer than {self._limit_s:g} s and was stopped")
                else:
                    continue
                yield record  # on disk before anything else can fail
                if waiting:
                    self._replace_if_dead(worker)
                self._give(worker, waiting)

    def _start(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        with _one_thread_each():
            process = _SPAWN.Process(target=work, args=(theirs, self._settings), daemon=True)
            process.start()
        theirs.close()
        return _Worker(process=process, pipe=ours)

    def _greet(self, worker: _Worker) -> None:
        """Wait until it can play. Raises KinemaError with what it says, _DiedAtStartError if it is silent."""
        try:
            word, content = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            raise _DiedAtStartError(
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
        with suppress(BrokenPipeError, ConnectionResetError):  # it died idle: `_collect` will see that
            worker.pipe.send(worker.job)

    def _collect(self, worker: _Worker) -> EpisodeRecord:
        try:
            return worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            return self._bury(worker, "")

    def _bury(self, worker: _Worker, cause: str) -> EpisodeRecord:
        """An error record for the job the worker had."""
        assert worker.job is not None
        worker.process.join()
        worker.pipe.close()
        cause = cause or f"the worker process died with exit code {worker.process.exitcode}"
        return error_record(worker.job, cause, cause, self._errors_dir)

    def _replace_if_dead(self, worker: _Worker) -> None:
        """A new process in the place of one that was buried; a start that dies as well is tried again."""
        while worker.pipe.closed:
            fresh = self._start()
            try:
                self._greet(fresh)
            except _DiedAtStartError as error:
                fresh.pipe.close()
                self._failed_starts += 1
                if self._failed_starts >= _STARTS:
                    raise KinemaError(
                        f"{error}: {_STARTS} in a row; finished episodes are kept, the same command goes on"
                    ) from None
                continue
            self._failed_starts = 0
            worker.process, worker.pipe = fresh.process, fresh.pipe

    def close(self) -> None:
        """Send everybody home; whoever is in the middle of an episode is stopped."""
        for worker in self._workers:
            if worker.job is None and worker.process.is_alive() and not worker.pipe.closed:
                with suppress(BrokenPipeError, ConnectionResetError):
                    worker.pipe.send(None)
            else:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=10)
            worker.pipe.close()
        self._workers = []


class _DiedAtStartError(KinemaError):
    """A process that ended without a word."""


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
