"""The worker that plays episodes: one environment at a time, one policy, one thread.

Films, errors and whatever else is written while an episode is played are written into a folder of the
worker's own and travel back with the record, for the worker may be on another machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kinema.bench.benchmark import Benchmark, Environment, Factory
from kinema.bench.episode import EpisodeJob, EpisodeRecord, Play, play_episode, try_episode
from kinema.bench.identity import changed, made_by, paths_in
from kinema.schema import KinemaError, Policy, Result

ERRORS = "errors"  # folder of the errors' details


@dataclass(frozen=True, kw_only=True)
class Playing:
    """Work for a pool: how episodes are played.

    out:     the run's folder, as the factories name it
    made_by: what must be on the disk where it is played
    """

    benchmark: Factory
    policy: Factory
    replan_steps: int
    out: str
    made_by: Mapping[str, Mapping[str, str]]
    play: Factory | None = None

    def files(self) -> tuple[str, ...]:
        return paths_in(*filter(None, (self.benchmark, self.policy, self.play)))

    def moved(self, places: Mapping[str, str]) -> Playing:
        return replace(
            self,
            benchmark=self.benchmark.moved(places),
            policy=self.policy.moved(places),
            play=self.play.moved(places) if self.play else None,
        )

    def begin(self) -> Player:
        """Raises KinemaError for what cannot be built, and for other weights than the run began with."""
        player = Player(self)
        now = made_by(benchmark=self.benchmark, policy=self.policy, play=self.play)
        if differs := changed(self.made_by, now):
            raise KinemaError(f"while the run was going on, {'; '.join(differs)}; choose another --out")
        return player


@dataclass(frozen=True, kw_only=True)
class Played:
    """A record, and what was written for it: bytes by path below the run's folder."""

    record: EpisodeRecord
    files: Mapping[str, bytes]

    def write_files(self, out: Path) -> None:
        """Each appears whole."""
        for name, content in self.files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(content)
            partial.replace(path)


class Player:
    """Plays what it is given; an episode that crashes is an error record."""

    def __init__(self, playing: Playing) -> None:
        self._scratch = TemporaryDirectory(prefix="kinema-episodes-")
        self._out = Path(self._scratch.name)
        playing = playing.moved({playing.out: self._scratch.name})
        self._benchmark: Benchmark = playing.benchmark.build()
        self._policy: Policy = playing.policy.build()
        self._play: Play = playing.play.build() if playing.play else play_episode
        self._replan_steps = playing.replan_steps
        self._specs = {spec.name: spec for spec in self._benchmark.tasks()}
        self._task: str | None = None
        self._environment: Environment | None = None

    @property
    def said(self) -> Mapping[str, Any]:
        """Where the policy comes from, by its own account."""
        return getattr(self._policy, "provenance", {})

    def do(self, job: EpisodeJob) -> Played:
        def played() -> EpisodeRecord:
            return self._play(
                self._open(job.task), self._policy, self._specs[job.task], here, self._replan_steps
            )

        here = replace(job, video=str(self._out / job.video)) if job.video else job
        record = try_episode(played, here, self._out / ERRORS)
        if record.result == Result.ERROR:
            self._environment = None  # whatever state it is in, the next episode starts with a new one
        return Played(record=record, files=dict(self._written()))

    def _written(self) -> Iterator[tuple[str, bytes]]:
        """What lies in the worker's folder, which is empty afterwards."""
        for path in sorted(self._out.rglob("*")):
            if path.is_file():
                yield path.relative_to(self._out).as_posix(), path.read_bytes()
                path.unlink()

    def _open(self, task: str) -> Environment:
        if self._environment is None or self._task != task:
            self._leave()
            self._environment = self._benchmark.make(task)
            self._task = task
        return self._environment

    def _leave(self) -> None:
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def close(self) -> None:
        self._leave()
        self._scratch.cleanup()
