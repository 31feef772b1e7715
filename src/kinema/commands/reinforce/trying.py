"""Episodes to learn from: on scenes that no evaluation has, and each with the policy's decisions kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema.bench.benchmark import EndsEarly, Environment, TaskSpec
from kinema.bench.episode import (
    EVALUATION_SEEDS_BELOW,
    EpisodeJob,
    EpisodeRecord,
    episode_file_name,
    play_episode,
)
from kinema.model.policy.explorer import Explorer
from kinema.schema import Observation, Policy, Result
from kinema.train.reinforce.rollout import SUFFIX, Rollout


class Trying:
    """Plays an episode in place of `play_episode`; an `Explorer`'s decisions become a file.

    most_steps: where an episode ends at the latest, if before its benchmark's own end
    """

    def __init__(self, out: str, most_steps: int | None = None) -> None:
        self._out, self._most_steps = Path(out), most_steps

    def __call__(
        self, environment: Environment, policy: Policy, spec: TaskSpec, job: EpisodeJob, replan_steps: int
    ) -> EpisodeRecord:
        scene = Scene(environment, self._most_steps)
        job = replace(job, seed=EVALUATION_SEEDS_BELOW + job.seed)
        record = play_episode(scene, policy, spec, job, replan_steps)
        if isinstance(policy, Explorer) and record.steps:
            each = policy.played_of_a_chunk(replan_steps)
            rollout = Rollout(
                task=spec.name,
                decisions=policy.taken(record.steps, replan_steps),
                success=record.result == Result.SUCCESS,
                most=-(-scene.max_steps // each),
            )
            self._out.mkdir(parents=True, exist_ok=True)
            rollout.save(self._out / f"{episode_file_name(job)}{SUFFIX}")
        return record


class Scene:
    """A benchmark's environment that draws its scenes, also where the benchmark fixes where episodes begin.

    An episode ends at the first success even where the benchmark asks at the end: what comes after the
    success is no part of what earned it.
    """

    def __init__(self, environment: Environment, most_steps: int | None = None) -> None:
        self._environment = environment
        self.max_steps = min(environment.max_steps, most_steps or environment.max_steps)

    @property
    def instruction(self) -> str:
        return self._environment.instruction

    def reset(self, seed: int) -> None:
        self._environment.reset(seed)

    def observe(self, render: bool = True) -> Observation:
        return self._environment.observe(render=render)

    def step(self, action: np.ndarray) -> None:
        self._environment.step(action)

    def success(self) -> bool:
        return self._environment.success()

    def over(self) -> bool:
        return isinstance(self._environment, EndsEarly) and self._environment.over()

    def measures(self) -> Mapping[str, float]:
        return self._environment.measures()

    def close(self) -> None:
        self._environment.close()
