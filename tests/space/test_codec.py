"""Laws of the unified space: inverses on the mask, clipping, and refusal of what does not fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.load import card_names, load_card
from kinema.space.codec import ChunkFrame, Codec
from kinema.space.layout import NUM_SLOTS, SLOTS, slot_index
from kinema.space.rotation import (
    matrix_from_quat,
    matrix_from_rotvec,
    matrix_from_sixd,
    quat_from_matrix,
    rotvec_from_matrix,
    sixd_from_matrix,
)
from kinema.space.stats import ChannelStats
from laws import examples


def _codec(name, rng):
    card = load_card(name)
    low, high = np.array([c.range for c in card.actions]).T
    relative = np.array([c.reference == "first_frame" for c in card.actions])
    width = (high - low) * np.where(relative, 2.0, 1.0)  # anywhere from anywhere
    center = np.where(relative, 0.0, (low + high) / 2)
    actions = ChannelStats(
        names=tuple(c.name for c in card.actions), q01=center - width / 2, q99=center + width / 2
    )
    low, high = np.array([c.range for c in card.states]).T
    return Codec(card, actions, ChannelStats(names=tuple(c.name for c in card.states), q01=low, q99=high))


def _chunk(card, rng, steps=16):
    low, high = np.array([c.range for c in card.actions]).T
    rotation = np.array([".rot." in c.slot for c in card.actions])
    low, high = np.where(rotation, -0.8, low), np.where(rotation, 0.8, high)
    state_low, state_high = np.array([c.range for c in card.states]).T
    rotation = np.array([".rot." in c.slot for c in card.states])
    state_low, state_high = np.where(rotation, -0.8, state_low), np.where(rotation, 0.8, state_high)
    return rng.uniform(low, high, (steps, len(low))), rng.uniform(state_low, state_high)


@pytest.mark.parametrize("name", card_names())
def test_decode_undoes_encode_on_the_mask(name):
    rng = np.random.default_rng(0)
    codec = _codec(name, rng)
    for _ in range(20):
        actions, state = _chunk(codec.card, rng)
        unified = codec.encode(actions, state)
        assert unified.shape == (16, NUM_SLOTS)
        assert np.abs(unified).max() <= 1
        assert not unified[:, ~codec.mask].any()
        inside = (np.abs(unified) < 1).all(0)  # columns that were not clipped
        columns = [i for i, c in enumerate(codec.card.actions) if inside[slot_index(c.slot)]]
        assert len(columns) >= len(codec.card.actions) - 3
        back = codec.decode(unified, state)
        np.testing.assert_allclose(back[:, columns], actions[:, columns], atol=2e-5)


@pytest.mark.parametrize("name", card_names())
def test_the_slot_of_a_gripper_or_hand_is_larger_the_further_it_opens_whichever_way_the_body_counts(name):
    codec = _codec(name, np.random.default_rng(0))
    actions, state = _chunk(codec.card, np.random.default_rng(0), steps=5)
    ends = [i for i, c in enumerate(codec.card.actions) if c.slot.split(".")[1] in ("gripper", "hand")]
    for i in ends:
        channel = codec.card.actions[i]
        actions[:, i] = np.linspace(*channel.closed_and_open, 5)
        np.testing.assert_allclose(channel.opening(actions[:, i]), np.linspace(0, 1, 5))
    unified = codec.encode(actions, state)
    for i in ends:
        channel = codec.card.actions[i]
        if channel.reference == "absolute":
            np.testing.assert_allclose(unified[:, slot_index(channel.slot)], np.linspace(-1, 1, 5))
        assert (np.diff(unified[:, slot_index(channel.slot)]) >= 0).all()
    for i, channel in enumerate(codec.card.states):
        if channel.slot.endswith(".gripper"):
            measured = np.tile(state, (2, 1))
            measured[:, i] = channel.closed_and_open
            assert codec.encode_state(measured)[:, slot_index(channel.slot)].tolist() == [-1, 1]


@pytest.mark.parametrize("name", card_names())
def test_states_come_back_too(name):
    codec = _codec(name, np.random.default_rng(0))
    _, state = _chunk(codec.card, np.random.default_rng(4))
    np.testing.assert_allclose(codec.decode_state(codec.encode_state(state)), state, atol=1e-5)


@examples(40)
@given(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]), st.integers(0, 1000))
def test_a_card_that_counts_the_other_way_is_the_same_body_to_a_network(action_open, state_open, seed):
    """The same motion, in the numbers of whichever card, is the same in the unified space, and comes back."""
    codec = _codec("panda", np.random.default_rng(0))
    actions, state = _chunk(codec.card, np.random.default_rng(seed))
    ends = {"actions": action_open, "states": state_open}
    turned = {
        what: tuple(
            c.model_copy(update={"open": end}) if c.slot.endswith(".gripper") else c
            for c in getattr(codec.card, what)
        )
        for what, end in ends.items()
    }
    other = Codec(codec.card.model_copy(update=turned), codec.action_stats, codec.state_stats)
    theirs, measured = actions.copy(), state.copy()
    if action_open == 0:
        theirs[:, -1] = 1 - theirs[:, -1]
    if state_open == 0:
        measured[-1] = 1 - measured[-1]
    unified = other.encode(theirs, measured)
    np.testing.assert_allclose(unified, codec.encode(actions, state), atol=1e-6)
    np.testing.assert_allclose(other.encode_state(measured), codec.encode_state(state), atol=1e-6)
    np.testing.assert_allclose(other.decode(unified, measured), theirs, atol=2e-5)


@pytest.mark.parametrize("name", card_names())
def test_chunk_frame_is_invertible_and_begins_at_zero(name):
    rng = np.random.default_rng(1)
    card = load_card(name)
    frame = ChunkFrame(card)
    actions, state = _chunk(card, rng)
    np.testing.assert_allclose(frame.leave(frame.enter(actions, state), state), actions, atol=1e-9)
    slot_of_state = {c.slot: i for i, c in enumerate(card.states)}
    for i, channel in enumerate(card.actions):
        if channel.reference == "first_frame":
            actions[0, i] = state[slot_of_state[channel.slot]]
    first = frame.enter(actions, state)[0]
    relative = [i for i, c in enumerate(card.actions) if c.reference == "first_frame"]
    np.testing.assert_allclose(first[relative], 0, atol=1e-12)


def test_a_batch_of_chunks_encodes_like_each_alone():
    rng = np.random.default_rng(2)
    codec = _codec("panda", rng)
    actions, states = (np.stack(x) for x in zip(*[_chunk(codec.card, rng) for _ in range(5)]))
    together = codec.encode(actions, states)
    for i in range(5):
        np.testing.assert_array_equal(together[i], codec.encode(actions[i], states[i]))


def test_values_outside_the_quantiles_are_clipped_not_wrapped():
    codec = _codec("ur5e", np.random.default_rng(3))
    actions, state = _chunk(codec.card, np.random.default_rng(3))
    actions[:, 0] = 1e6
    assert (codec.encode(actions, state)[:, slot_index(codec.card.actions[0].slot)] == 1).all()


def test_statistics_of_other_channels_are_refused():
    codec = _codec("panda", np.random.default_rng(0))
    wrong = ChannelStats(names=("a",), q01=np.zeros(1), q99=np.ones(1))
    with pytest.raises(ValueError, match="action statistics are for channels"):
        Codec(codec.card, wrong, codec.state_stats)


def test_statistics_refuse_nan_and_inverted_quantiles():
    with pytest.raises(ValueError, match=r"'y'.*not finite"):
        ChannelStats(names=("x", "y"), q01=np.array([0, np.nan]), q99=np.ones(2))
    with pytest.raises(ValueError, match="below q01"):
        ChannelStats(names=("x",), q01=np.ones(1), q99=np.zeros(1))


def test_quantiles_of_a_known_ramp():
    stats = ChannelStats.measure(("x",), np.arange(101.0)[:, None])
    assert stats.q01[0] == pytest.approx(1.0)
    assert stats.q99[0] == pytest.approx(99.0)
    assert ChannelStats.from_json(stats.to_json()).q99[0] == stats.q99[0]


def test_slots_are_unique_and_named_in_errors():
    assert len(set(SLOTS)) == NUM_SLOTS == 80
    assert slot_index("right.gripper") == 29 + 16
    with pytest.raises(KeyError, match=r"right\.gripper"):
        slot_index("right.griper")


_vector = st.lists(st.floats(-1.7, 1.7), min_size=3, max_size=3).map(np.array)


@examples(200)
@given(_vector)
def test_every_rotation_form_comes_back(rotvec):
    matrix = matrix_from_rotvec(rotvec)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    for there_and_back in (
        matrix_from_rotvec(rotvec_from_matrix(matrix)),
        matrix_from_quat(quat_from_matrix(matrix)),
        matrix_from_sixd(sixd_from_matrix(matrix)),
    ):
        np.testing.assert_allclose(there_and_back, matrix, atol=1e-9)
    if np.linalg.norm(rotvec) < 3.1:
        np.testing.assert_allclose(rotvec_from_matrix(matrix), rotvec, atol=1e-8)


def test_a_half_turn_is_read_back_as_a_half_turn():
    for axis in np.eye(3):
        matrix = matrix_from_rotvec(np.pi * axis)
        np.testing.assert_allclose(np.abs(rotvec_from_matrix(matrix)), np.pi * axis, atol=1e-7)


def test_quarter_turn_about_z_by_hand():
    np.testing.assert_allclose(
        matrix_from_rotvec(np.array([0, 0, np.pi / 2])), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15
    )
