"""A policy that acts before the expert does: what is recorded begins where it left the world."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.card.card import EmbodimentCard
from kinema.commands.data import play as module
from kinema.commands.data.made import MADE
from kinema.commands.data.play import ACTS_FIRST, Task, play
from kinema.runtime.policy import CardPolicy


class Straight(CardPolicy):
    """Goes ahead at full speed, as a base's waypoints say it."""

    asked = 0

    def values(self, card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
        self.asked += 1
        values = np.zeros((card.chunk, len(card.actions)))
        values[:, 0] = card.actions[0].range[1]
        return values


@pytest.fixture
def straight(monkeypatch: pytest.MonkeyPatch) -> Straight:
    policy = Straight()
    monkeypatch.setattr(module, "_policy", lambda _: policy)
    return policy


def _task(policy: str | None) -> Task:
    return Task(
        world="navigation", card="wheeled_base", name="instruction", noise=0.0, image_size=32, policy=policy
    )


def test_what_is_recorded_begins_where_the_policy_left_the_base(straight: Straight) -> None:
    alone, mended = play(_task(None), 1_000_003), play(_task("a policy"), 1_000_003)
    assert straight.asked > 0
    assert alone.arrays["task"] == mended.arrays["task"]
    np.testing.assert_array_equal(alone.arrays["state"][0], 0.0)
    assert np.abs(mended.arrays["state"][0]).max() > 0.3
    assert alone.success
    assert mended.success


def test_what_a_policy_solves_by_itself_is_not_kept(
    straight: Straight, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kinema.worlds.house.env import HouseEnv

    monkeypatch.setattr(HouseEnv, "success", lambda _: True)
    assert play(_task(None), 1_000_003).success
    assert not play(_task("a policy"), 1_000_003).success


def test_every_world_that_lets_a_policy_act_first_says_for_how_long() -> None:
    heeding = {name for name, made in MADE.items() if "policy" in made.heeds}
    assert heeding - {"hazards"} == set(ACTS_FIRST)  # of hazards its chunks are kept, no expert mends them
