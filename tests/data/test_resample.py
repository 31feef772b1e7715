"""A control step is the same stretch of time whatever rate was recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.load import card_names, load_card
from kinema.data.fake import fake_source
from kinema.data.resample import Resampler, kind_of
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix
from laws import examples

CARDS = [n for n in (*card_names(), "car") if all(c.unit != "normalised" for c in load_card(n).actions)]
RATIOS = st.sampled_from([1 / 3, 0.5, 0.8, 1.0, 1.25, 1.5, 2.997, 3.0, 5.0])


def _windows(card, values, ratio, start, steps=16):
    one = np.ones(1, int)
    return Resampler(card.actions, ratio).windows(values, start * one, 0 * one, len(values) * one, steps)


def _smooth(card, count, ratio):
    """Targets as functions of the time they are due: row i is due at (i + 1) / ratio control steps."""
    due = (np.arange(count) + 1) / ratio
    low, high = np.array([c.range for c in card.actions]).T
    middle = np.where(["rot" in c.slot for c in card.actions], 0.1, (low + high) / 2)
    return middle + 0.0005 * (high - low) * due[:, None]


@examples(60)
@given(st.sampled_from(CARDS), RATIOS, st.integers(0, 30))
def test_a_pose_is_the_one_due_at_the_steps_end(name, ratio, start):
    """A straight motion recorded at any rate gives one window: that of the card's own rate."""
    card = load_card(name)
    values = _smooth(card, 200, ratio)
    chunk, valid = _windows(card, values, ratio, start)
    began = start / ratio  # in control steps
    due = began + 1 + np.arange(16)
    low, high = np.array([c.range for c in card.actions]).T
    middle = np.where(["rot" in c.slot for c in card.actions], 0.1, (low + high) / 2)
    expected = middle + 0.0005 * (high - low) * np.maximum(due, 1 / ratio)[:, None]
    columns = [i for i, c in enumerate(card.actions) if kind_of(c) == "blend" and ".rot." not in c.slot]
    assert valid.all()
    np.testing.assert_allclose(chunk[0][:, columns], expected[:, columns], atol=1e-6)
    turned = [i for i, c in enumerate(card.actions) if ".rot." in c.slot]
    if turned:  # equal parts of one straight rotation vector are not exactly a geodesic, but nearly
        np.testing.assert_allclose(chunk[0][:, turned], expected[:, turned], atol=2e-3)


@pytest.mark.parametrize("name", card_names())
def test_the_cards_own_rate_changes_nothing(name):
    card = load_card(name)
    source = fake_source(card, image_size=16, episodes=3)
    if any(c.unit == "normalised" for c in card.actions):
        return
    starts = np.array([0, 7, 19, 25, 59])
    begin, end = source.bounds(starts)
    own, real = source.windows(starts, 16)
    again, valid = Resampler(card.actions, 1.0).windows(source.action, starts, begin, end, 16)
    np.testing.assert_array_equal(own, again.astype(np.float32))
    np.testing.assert_array_equal(real, valid)


@examples(100)
@given(RATIOS, st.lists(st.sampled_from([0.0, 1.0]), min_size=8, max_size=40), st.integers(0, 7))
def test_a_gripper_is_never_half_ordered_and_no_order_that_lasts_is_lost(ratio, orders, start):
    card = load_card("panda")
    values = np.zeros((len(orders), 7))
    values[:, 6] = orders
    steps = 60
    chunk, valid = _windows(card, values, ratio, start, steps)
    given_ = chunk[0, :, 6]
    assert set(given_) <= {0.0, 1.0}
    assert given_[-1] == orders[-1]
    for k in np.flatnonzero(valid[0]):  # it was in force during the step, or at its end
        inside = range(int(np.floor(start + k * ratio + 1e-6)), int(np.ceil(start + (k + 1) * ratio - 1e-6)))
        assert given_[k] in {orders[i] for i in inside}


@examples(100)
@given(RATIOS, st.integers(10, 40), st.integers(0, 2**31))
def test_velocities_keep_the_way(ratio, count, seed):
    card = load_card("car")
    values = np.random.default_rng(seed).uniform(0, 10, (count, 2))
    chunk, valid = _windows(card, values, ratio, 0, 200)
    whole = int(valid[0].sum())
    way = values[:, 0].repeat(1000)[: round(whole * ratio * 1000)].sum() / 1000  # in rows
    assert chunk[0, :whole, 0].sum() * ratio == pytest.approx(way, rel=2e-3, abs=0.02)


def test_rotations_go_the_short_way():
    card = load_card("panda")
    values = np.zeros((2, 7))
    a, b = np.array([0, 0, 3.0]), np.array([0, 0, -3.0])  # 0.28 rad apart, through the half turn
    values[0, 3:6], values[1, 3:6] = a, b
    between = Resampler(card.actions, 2.0).poses(values, np.array([[0.5]]), np.zeros(1, int), np.full(1, 2))[
        0, 0, 3:6
    ]
    angle = np.linalg.norm(rotvec_from_matrix(matrix_from_rotvec(-a) @ matrix_from_rotvec(between)))
    assert angle == pytest.approx((2 * np.pi - 6) / 2, abs=1e-6)


def test_an_angle_that_wraps_is_not_a_way():
    card = load_card("ur5e")
    joint = next(i for i, c in enumerate(card.actions) if c.unit == "rad")
    low, high = card.actions[joint].range
    values = np.zeros((2, len(card.actions)))
    values[:, joint] = 0.95 * high, 0.95 * low
    read = Resampler(card.actions, 2.0).poses(values, np.array([[0.3, 0.7]]), np.zeros(1, int), np.full(1, 2))
    assert read[0, :, joint].tolist() == pytest.approx([0.95 * high, 0.95 * low])


@examples(50)
@given(RATIOS, st.integers(0, 239))
def test_no_window_reads_another_episode(ratio, start):
    source = fake_source(load_card("panda"), image_size=16)
    number = np.arange(len(source.action)) // 20
    action = np.repeat(number[:, None], 7, 1).astype(np.float32)
    marked = replace(source, action=action, ratio=ratio)
    chunk, valid = marked.windows(np.array([start]), 16)
    plain = [0, 1, 2, 6]
    assert (chunk[0][:, plain] == number[start]).all()
    left = (20 - start % 20) / ratio
    assert valid.sum() == min(16, int(left + 1e-5))


def test_how_old_a_picture_is_counts_in_control_steps():
    source = replace(fake_source(load_card("panda"), image_size=16), ratio=3.0)
    np.testing.assert_array_equal(source.earlier(np.array([10, 10, 25]), np.array([1, 2, 2])), [7, 4, 25])


def test_velocities_keep_the_way_between_rows_of_unequal_length():
    """What was commanded for a while counts for that while: the way is the sum of speed times time."""
    forward = load_card("panda").actions[0]
    speed = Resampler([forward.model_copy(update={"unit": "m/s", "range": (-9.0, 9.0)})], 1.0)
    given_s = np.array([0.0, 0.1, 0.15, 0.4, 0.5])  # each row lasts to the next
    values = np.array([[1.0], [-2.0], [4.0], [3.0]])
    edges_s = np.array([[0.0, 0.2, 0.3, 0.5]])
    edges = np.interp(edges_s, given_s, np.arange(5.0))
    got = speed.between(values, edges, np.array([0]), np.array([4]), np.diff(given_s))[0, :, 0]
    way_m = [0.1 * 1 - 0.05 * 2 + 0.05 * 4, 0.1 * 4, 0.1 * 4 + 0.1 * 3]
    np.testing.assert_allclose(got * np.diff(edges_s)[0], way_m)
