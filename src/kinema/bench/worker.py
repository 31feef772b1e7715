"""The process that plays episodes: one environment at a time, one policy, one thread."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from kinema.bench.benchmark import Benchmark, Environment, Factory
from kinema.bench.episode import EpisodeJob, EpisodeRecord, Play, play_episode, try_episode
from kinema.bench.identity import changed, made_by
from kinema.card.card import EmbodimentCard
from kinema.card.load import know
from kinema.schema import KinemaError, Policy, Result

THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    benchmark: Factory
    policy: Factory
    replan_steps: int
    errors_dir: str
    play: Factory | None = None
    cards: tuple[EmbodimentCard, ...] = ()  # of bodies that are not shipped
    made_by: Mapping[str, Mapping[str, str]] | None = None  # what must be on the disk; None: not compared


def work(connection: Connection, settings: WorkerSettings) -> None:
    """Answer jobs with records until the other end sends None or goes away.

    Says ("ready", provenance of the policy) or ("unfit", why) first.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        know(*settings.cards)
        benchmark: Benchmark = settings.benchmark.build()
        policy: Policy = settings.policy.build()
        player = _Player(benchmark, policy, settings)
        _check_unchanged(settings)
    except (KinemaError, OSError) as error:
        connection.send(("unfit", str(error)))
        return
    if "torch" in sys.modules:  # never imported here; a network policy has done so by now
        sys.modules["torch"].set_num_threads(1)
    connection.send(("ready", dict(getattr(policy, "provenance", {}))))
    try:
        while (job := connection.recv()) is not None:
            connection.send(player.play(job))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone; what it had is in the journal
    finally:
        player.close()


def _check_unchanged(settings: WorkerSettings) -> None:
    """After building: that nobody has put other weights there since the run began."""
    if settings.made_by is None:
        return
    now = made_by(benchmark=settings.benchmark, policy=settings.policy, play=settings.play)
    if differs := changed(settings.made_by, now):
        raise KinemaError(f"while the run was going on, {'; '.join(differs)}; choose another --out")


class _Player:
    def __init__(self, benchmark: Benchmark, policy: Policy, settings: WorkerSettings) -> None:
        self._benchmark = benchmark
        self._policy = policy
        self._settings = settings
        self._play: Play = settings.play.build() if settings.play else play_episode
        self._specs = {spec.name: spec for spec in benchmark.tasks()}
        self._task: str | None = None
        self._environment: Environment | None = None

    def play(self, job: EpisodeJob) -> EpisodeRecord:
        def played() -> EpisodeRecord:
            environment, replan_steps = self._open(job.task), self._settings.replan_steps
            return self._play(environment, self._policy, self._specs[job.task], job, replan_steps)

        record = try_episode(played, job, Path(self._settings.errors_dir))
        if record.result == Result.ERROR:
            self._environment = None  # whatever state it is in, the next episode starts with a new one
        return record

    def _open(self, task: str) -> Environment:
        if self._environment is None or self._task != task:
            self.close()
            self._environment = self._benchmark.make(task)
            self._task = task
        return self._environment

    def close(self) -> None:
        if self._environment is not None:
            self._environment.close()
            self._environment = None
