"""One episode: the policy acts until success or the step limit, or all steps; a crash is an error."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from kinema.bench.benchmark import (
    EndsEarly,
    Environment,
    JudgedAtTheEnd,
    NumberedStarts,
    Privileged,
    TaskSpec,
)
from kinema.bench.video import write_video
from kinema.runtime.chunk import ChunkPlayer
from kinema.schema import Observation, Policy, Result

EVALUATION_SEEDS_BELOW = 1_000_000  # training demonstrations use seeds from here on
_MOST_EPISODES = 10_000  # per task
_VIDEO_HZ = 10.0


@dataclass(frozen=True, kw_only=True)
class EpisodeJob:
    """Which episode to play, and where to put its video, below the run's folder (None: not recorded)."""

    task: str
    index: int
    seed: int
    video: str | None = None


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One line of the journal. Everything but `timing` is the same on every run with the same seed."""

    task: str
    index: int
    seed: int
    result: str
    cause: str
    steps: int
    measures: Mapping[str, float] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    video: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def episode_seed(run_seed: int, task: str, index: int) -> int:
    """Seed of an episode, a function of these three only; never a training seed, distinct within a task."""
    if not 0 <= index < _MOST_EPISODES:
        raise ValueError(f"episode index must be in [0, {_MOST_EPISODES}); got {index}")
    digest = blake2b(f"{run_seed}:{task}".encode(), digest_size=8).digest()
    seed = int.from_bytes(digest, "big") % (EVALUATION_SEEDS_BELOW - _MOST_EPISODES) + index
    assert 0 <= seed < EVALUATION_SEEDS_BELOW, "evaluation would see training seeds"
    return seed


Play = Callable[[Environment, Policy, TaskSpec, EpisodeJob, int], EpisodeRecord]  # as `play_episode`


def try_episode(play: Callable[[], EpisodeRecord], job: EpisodeJob, errors_dir: Path) -> EpisodeRecord:
    """Play one episode; what goes wrong becomes an error record with its traceback in a file."""
    try:
        return play()
    except Exception as error:  # one of the two places where everything is caught
        return error_record(job, f"{type(error).__name__}: {error}", traceback.format_exc(), errors_dir)


def error_record(job: EpisodeJob, cause: str, details: str, errors_dir: Path) -> EpisodeRecord:
    """The record of an episode that crashed; `details` is kept in `errors_dir`."""
    errors_dir.mkdir(parents=True, exist_ok=True)
    (errors_dir / f"{episode_file_name(job)}.txt").write_text(details)
    return EpisodeRecord(
        task=job.task,
        index=job.index,
        seed=job.seed,
        result=Result.ERROR,
        cause=cause.splitlines()[0],
        steps=0,
    )


def play_episode(
    environment: Environment, policy: Policy, spec: TaskSpec, job: EpisodeJob, replan_steps: int
) -> EpisodeRecord:
    """Play one episode to its end. Raises whatever the environment or the policy raises."""
    began = time.perf_counter()
    if isinstance(environment, NumberedStarts):
        environment.reset_to(job.index, job.seed)
    else:
        environment.reset(job.seed)
    privileged = isinstance(policy, Privileged)
    if isinstance(policy, Privileged):
        policy.attach(environment)
    player = ChunkPlayer(policy, spec.card, replan_steps)
    player.reset(job.seed)
    film = _Film(environment, spec.control_hz) if job.video else None

    sees = not (privileged or getattr(policy, "blind", False))

    def observe() -> Observation:
        return environment.observe(render=sees)

    steps = 0
    to_the_end = isinstance(environment, JudgedAtTheEnd)
    while steps < environment.max_steps and (to_the_end or not environment.success()):
        if isinstance(environment, EndsEarly) and environment.over():
            break
        if film:
            film.take(steps)
        environment.step(player.act(observe))
        steps += 1
    succeeded = environment.success()
    if film and job.video:
        film.take_last()
        write_video(Path(job.video), np.stack(film.frames), film.frames_per_s)
    seconds = time.perf_counter() - began
    latency_ms = 1e3 * statistics.median(player.latency_s) if player.latency_s else 0.0
    return EpisodeRecord(
        task=job.task,
        index=job.index,
        seed=job.seed,
        result=Result.SUCCESS if succeeded else Result.FAILURE,
        cause="success" if succeeded else f"no success within {steps} steps",
        steps=steps,
        measures={name: float(value) for name, value in environment.measures().items()},
        timing={
            "seconds": round(seconds, 3),
            "policy_ms": round(latency_ms, 3),
            "asked": len(player.latency_s),
        },
        video=Path(job.video).name if job.video else None,
    )


def episode_file_name(job: EpisodeJob) -> str:
    return f"{job.task.replace('/', '_')}__{job.index:03d}"


class _Film:
    """Pictures of the first camera at about _VIDEO_HZ of simulated time."""

    def __init__(self, environment: Environment, control_hz: float) -> None:
        self._environment = environment
        self._every = max(1, round(control_hz / _VIDEO_HZ))
        self.frames_per_s = control_hz / self._every
        self.frames: list[np.ndarray] = []

    def take(self, step: int) -> None:
        if step % self._every == 0:
            self.take_last()

    def take_last(self) -> None:
        self.frames.append(next(iter(self._environment.observe(render=True).images.values())))
