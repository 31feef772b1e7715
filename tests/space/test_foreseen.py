"""Where a body will be: poses follow the action, hands stay as they are measured."""

import numpy as np

from kinema.card.load import load_card
from kinema.space.foreseen import Foreseen


def _values(channels, first):
    return first + np.arange(len(channels), dtype=float)


def test_poses_follow_the_action_and_hands_and_unmoved_channels_stay():
    for name in ("panda", "ur5e", "aloha"):
        card = load_card(name)
        state, action = _values(card.states, 100.0), _values(card.actions, 500.0)
        after = Foreseen(card).after(state, action)
        commanded = {c.slot: action[i] for i, c in enumerate(card.actions)}
        for i, channel in enumerate(card.states):
            is_pose = channel.slot in commanded and "gripper" not in channel.slot
            assert after[i] == (commanded[channel.slot] if is_pose else state[i])
        assert (after != state).any()
        np.testing.assert_array_equal(state, _values(card.states, 100.0))  # the input is left alone


def test_many_states_at_once_equal_one_at_a_time():
    card = load_card("ur5e")
    rng = np.random.default_rng(0)
    states, actions = rng.normal(size=(5, len(card.states))), rng.normal(size=(5, len(card.actions)))
    foreseen = Foreseen(card)
    together = foreseen.after(states, actions)
    for one, state, action in zip(together, states, actions):
        np.testing.assert_array_equal(one, foreseen.after(state, action))
