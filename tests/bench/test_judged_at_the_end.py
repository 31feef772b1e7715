"""Where a benchmark asks for success after the last step only, an episode has all its steps."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.bench.benchmark import TaskSpec
from kinema.bench.episode import EpisodeJob, play_episode
from kinema.runtime.policy import HoldPolicy
from kinema.schema import Observation

SPEC = TaskSpec(name="a", card="sawyer_metaworld", control_hz=10, groups={"kind": "a"})
JOB = EpisodeJob(task="a", index=0, seed=0)


class Fleeting:
    """Solved from the third step to the step before `lost`."""

    max_steps = 6
    instruction = "wait"

    def __init__(self, lost: int) -> None:
        self.lost = lost

    def reset(self, seed: int) -> None:
        self.steps = 0

    def observe(self, render: bool = True) -> Observation:
        return Observation(
            images={}, state=np.zeros(4, np.float32), instruction=self.instruction, time_s=self.steps / 10
        )

    def step(self, action: np.ndarray) -> None:
        self.steps += 1

    def success(self) -> bool:
        return 3 <= self.steps < self.lost

    def measures(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        pass


class JudgedLast(Fleeting):
    judged_at_the_end = True


@pytest.mark.parametrize(
    ("world", "result", "steps"),
    [
        (Fleeting(lost=5), "success", 3),
        (JudgedLast(lost=5), "failure", 6),
        (JudgedLast(lost=9), "success", 6),
    ],
)
def test_when_an_episode_is_over_and_what_counts(world: Fleeting, result: str, steps: int) -> None:
    record = play_episode(world, HoldPolicy(), SPEC, JOB, 2)
    assert (record.result, record.steps) == (result, steps)
