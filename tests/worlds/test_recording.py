"""What a recording holds of each step, and when it ends."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.schema import Observation
from kinema.worlds.recording import Recording, record


class Counter:
    """A world that is a number: actions are added to it, and `goal` or more is success."""

    instruction = "count"
    max_steps = 9

    def __init__(self, goal: float = np.inf) -> None:
        self.goal, self.value = goal, 0.0

    def observe(self, render: bool = True) -> Observation:
        images = {"front": np.full((2, 2, 3), self.value, np.uint8)} if render else {}
        state = np.array([self.value], np.float32)
        return Observation(images=images, state=state, instruction=self.instruction, time_s=0.0)

    def points(self) -> np.ndarray:
        return np.full((1, 2, 3), self.value, np.float32)

    def step(self, action: np.ndarray) -> None:
        self.value += action[0]

    def success(self) -> bool:
        return self.value >= self.goal


def one_more() -> np.ndarray:
    return np.ones(1)


def doubled(action: np.ndarray) -> np.ndarray:
    return 2 * action


def recorded(goal: float = np.inf, linger: int = 0, **options: object) -> Recording:
    return record(Counter(goal), one_more, doubled, linger=linger, **options)  # type: ignore[arg-type]


def test_everything_is_seen_before_the_action_and_the_label_is_the_clean_one() -> None:
    demo = recorded(goal=6)
    np.testing.assert_array_equal(demo.state[:, 0], [0, 2, 4])
    np.testing.assert_array_equal(demo.images["front"][:, 0, 0, 0], [0, 2, 4])
    np.testing.assert_array_equal(demo.points[:, 0, 0, 0], [0, 2, 4])
    np.testing.assert_array_equal(demo.action, np.ones((3, 1), np.float32))
    np.testing.assert_array_equal(demo.executed, 2 * np.ones((3, 1), np.float32))
    assert demo.success
    assert recorded(goal=6, render=False).images == {}


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"goal": 6, "linger": 2}, 5),
        ({"goal": 6, "linger": 100}, Counter.max_steps),
        ({}, Counter.max_steps),
        ({"over": lambda: True}, 1),
    ],
    ids=["so many steps after success", "lingering ends with the world", "no success", "over"],
)
def test_when_it_ends(options: dict[str, float], steps: int) -> None:
    demo = recorded(**options)  # type: ignore[arg-type]
    assert len(demo.state) == len(demo.action) == steps
    assert demo.success == ("goal" in options)


@pytest.mark.parametrize(("goal", "last"), [(6, True), (np.inf, False)])
def test_success_is_told_of_the_last_step_only(goal: float, last: bool) -> None:
    told = recorded(goal).arrays()["success"]
    assert not told[:-1].any()
    assert told[-1] == last
