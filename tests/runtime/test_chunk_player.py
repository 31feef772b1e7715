import dataclasses

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.runtime.chunk import ChunkPlayer
from kinema.runtime.policy import HoldPolicy
from kinema.schema import ActionChunk, KinemaError, Observation, Verdict


class Counting:
    """Chunk k holds the values 100 k, 100 k + 1, ..."""

    def __init__(self, steps=16):
        self.steps, self.asked = steps, 0

    def reset(self, seed):
        self.asked = 0

    def infer(self, observation, card_name):
        values = 100.0 * self.asked + np.arange(self.steps)[:, None]
        self.asked += 1
        return ActionChunk(values=values, times_s=np.arange(self.steps) / 10.0, card=card_name)


def look(state=(0.0,)):
    return Observation(images={}, state=np.array(state, np.float32), instruction="go", time_s=2.0)


def test_plays_the_first_steps_of_every_chunk_and_looks_only_then():
    looked = []
    player = ChunkPlayer(Counting(), "toy", replan_steps=3)
    player.reset(0)
    actions = [player.act(lambda: looked.append(1) or look())[0] for _ in range(8)]
    assert actions == [0, 1, 2, 100, 101, 102, 200, 201]
    assert len(looked) == len(player.latency_s) == 3


def test_a_short_chunk_is_played_to_its_end_and_reset_forgets_the_rest():
    player = ChunkPlayer(Counting(steps=2), "toy", replan_steps=8)
    player.reset(0)
    assert [player.act(look)[0] for _ in range(3)] == [0, 1, 100]
    player.reset(0)
    assert player.act(look)[0] == 0


def test_a_chunk_without_steps_or_with_nan_is_refused():
    player = ChunkPlayer(Counting(steps=0), "toy")
    player.reset(0)
    with pytest.raises(KinemaError, match="chunk for toy"):
        player.act(look)
    with pytest.raises(KinemaError, match="at least 1"):
        ChunkPlayer(Counting(), "toy", replan_steps=0)


def test_a_refused_chunk_is_held_for_a_step_and_then_asked_again():
    class Refusing(HoldPolicy):
        asked = 0

        def infer(self, observation, card_name, committed=None):
            self.asked += 1
            verdict = Verdict(allowed=self.asked > 2, risk={}, limit={}, horizon_s=1.0, reason="hand")
            chunk = super().infer(observation, card_name)
            return dataclasses.replace(chunk, values=chunk.values + 1.0, verdict=verdict)

    policy = Refusing()
    player = ChunkPlayer(policy, "panda", replan_steps=4)
    state = np.linspace(0.1, 0.7, 7)
    actions = [player.act(lambda: look(state)) for _ in range(6)]
    np.testing.assert_allclose(actions, [state] * 2 + [state + 1.0] * 4, rtol=1e-6)
    assert policy.asked == 3
    assert [verdict.allowed for _, verdict in player.verdicts] == [False, False, True]


def test_hold_keeps_the_measured_pose_or_sends_zeros_as_the_card_says():
    panda = load_card("panda")
    state = np.arange(1.0, len(panda.states) + 1)
    chunk = HoldPolicy().infer(look(state), "panda")
    slots = [channel.slot for channel in panda.states]
    wanted = [state[slots.index(channel.slot)] for channel in panda.actions]
    np.testing.assert_allclose(chunk.values, np.tile(wanted, (panda.chunk, 1)))
    assert chunk.times_s[0] == pytest.approx(2.0 + 1 / panda.control_hz)
    assert chunk.times_s[1] - chunk.times_s[0] == pytest.approx(1 / panda.control_hz)
    assert not HoldPolicy().infer(look((1, 2, 3, 4)), "sawyer_metaworld").values.any()
