"""The random baseline: within every card's ranges, all over them, and a function of the episode's seed."""

from __future__ import annotations

import numpy as np
import pytest
from toy_benchmark import ToyEnv

from kinema.bench.benchmark import TaskSpec
from kinema.bench.episode import EpisodeJob, play_episode
from kinema.bench.random_policy import RandomPolicy
from kinema.card.load import card_names, load_card
from kinema.commands.policies import policy_factory
from kinema.schema import Observation


def observed(time_s: float = 2.0) -> Observation:
    return Observation(images={}, state=np.zeros(1, np.float32), instruction="go", time_s=time_s)


@pytest.mark.parametrize("name", card_names())
def test_every_body_gets_every_action_of_its_range(name: str) -> None:
    card, policy = load_card(name), policy_factory("random").build()
    policy.reset(3)
    chunks = [policy.infer(observed(), name) for _ in range(40)]
    values = np.concatenate([chunk.values for chunk in chunks])
    low, high = np.array([channel.range for channel in card.actions]).T
    assert values.shape == (40 * card.chunk, len(card.actions))
    assert ((values >= low) & (values <= high)).all()
    assert np.ptp(values, axis=0) == pytest.approx(high - low, rel=0.05)
    first = chunks[0].times_s
    assert first == pytest.approx(2.0 + (1 + np.arange(card.chunk)) / card.control_hz)


def test_the_seed_of_the_episode_decides_and_nothing_before_it() -> None:
    one, other = RandomPolicy(), RandomPolicy()
    other.reset(8)
    other.infer(observed(), "panda")
    for policy in (one, other):
        policy.reset(7)
    first = one.infer(observed(), "panda").values
    np.testing.assert_array_equal(first, other.infer(observed(), "panda").values)
    assert not np.array_equal(first, one.infer(observed(), "panda").values), "every chunk is drawn anew"
    one.reset(8)
    assert not np.array_equal(first, one.infer(observed(), "panda").values)


@pytest.mark.parametrize("name", ["random", "hold"])
def test_no_picture_is_rendered_for_what_knows_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered, observe = [], ToyEnv.observe

    def noted(env: ToyEnv, render: bool = True) -> Observation:
        rendered.append(render)
        return observe(env, render)

    monkeypatch.setattr(ToyEnv, "observe", noted)
    spec = TaskSpec(name="left", card="sawyer_metaworld", control_hz=80, groups={})
    job = EpisodeJob(task="left", index=0, seed=1)
    play_episode(ToyEnv("left", ""), policy_factory(name).build(), spec, job, 8)
    assert rendered
    assert not any(rendered)
