"""A new chunk takes over without a jump, and an action is played at its time or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.load import load_card
from kinema.runtime.buffer import Blend, ChunkBuffer, Continue, Mixing, StartAnew, take_over
from kinema.schema import ActionChunk, KinemaError
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

CARD = load_card("panda")
MOTION = slice(0, 6)  # the gripper is switched, not moved


def chunk(rng: np.random.Generator, start_s: float, steps: int = 16) -> ActionChunk:
    values = np.cumsum(rng.normal(0, 0.05, (steps, 7)), axis=0)
    return ActionChunk(values=values, times_s=start_s + 0.1 * (1 + np.arange(steps)), card="panda")


@given(seed=st.integers(0, 2**32 - 1), late_s=st.floats(0.0, 1.4), blend_s=st.floats(0.05, 0.5))
def test_the_plan_is_continuous_where_a_chunk_takes_over(seed: int, late_s: float, blend_s: float) -> None:
    rng = np.random.default_rng(seed)
    buffer = ChunkBuffer(CARD)
    buffer.splice(chunk(rng, 0.0), 0.0, take_over)
    now_s = 0.15 + late_s
    before = buffer.at(now_s)
    buffer.splice(chunk(rng, 0.15), now_s, Blend(blend_s))
    assert before is not None
    at = buffer.at(now_s)
    assert at is not None
    np.testing.assert_allclose(at[MOTION], before[MOTION], atol=1e-9)
    soon = buffer.at(now_s + 1e-5)
    if soon is not None:
        assert np.abs(soon - before)[MOTION].max() < 1e-2


@given(seed=st.integers(0, 2**32 - 1))
def test_after_the_blend_the_new_chunk_is_played_as_it_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    buffer = ChunkBuffer(CARD)
    buffer.splice(chunk(rng, 0.0), 0.0, take_over)
    new = chunk(rng, 0.4)
    buffer.splice(new, 0.6, Blend(0.2))
    for time_s, value in zip(new.times_s, new.values):
        if time_s >= 0.8:
            np.testing.assert_allclose(buffer.at(float(time_s)), value, atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), blend_s=st.floats(0.05, 0.5))
def test_a_chunk_that_begins_with_what_was_committed_changes_nothing_of_it(seed: int, blend_s: float) -> None:
    rng = np.random.default_rng(seed)
    buffer = ChunkBuffer(CARD)
    buffer.splice(chunk(rng, 0.0), 0.0, take_over)
    committed = buffer.committed(0.4, 0.3)
    assert committed is not None
    np.testing.assert_allclose(committed.times_s, [0.5, 0.6, 0.7])
    new = chunk(rng, 0.4)
    new.values[:3] = committed.values
    for how in (take_over, Blend(blend_s)):
        buffer.splice(new, 0.7, how)
        np.testing.assert_allclose(buffer.at(0.7)[MOTION], committed.values[-1][MOTION], atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1))
def test_an_answer_that_agrees_is_played_as_it_is_and_another_is_faded_in(seed: int) -> None:
    rng = np.random.default_rng(seed)
    buffer = ChunkBuffer(CARD)
    old, new = chunk(rng, 0.0), chunk(rng, 0.4)
    buffer.splice(old, 0.0, take_over)
    buffer.splice(new, 0.6, Continue(0.2))
    before = buffer.sample(old, 0.6)
    np.testing.assert_allclose(buffer.at(0.6)[MOTION], before[MOTION], atol=1e-9)
    buffer.splice(old, 0.0, take_over)
    new.values[:2] = old.values[4:6]
    buffer.splice(new, 0.6, Continue(0.2))
    np.testing.assert_array_equal(buffer.at(0.7), new.values[2])


@pytest.mark.parametrize(("latency_s", "steps"), [(0.0, 0), (0.1, 1), (0.11, 2), (0.3, 3), (9.0, 16)])
def test_committed_is_what_is_due_before_the_answer(latency_s: float, steps: int) -> None:
    buffer = ChunkBuffer(CARD)
    buffer.splice(chunk(np.random.default_rng(0), 0.0), 0.0, take_over)
    committed = buffer.committed(0.0, latency_s)
    assert (0 if committed is None else len(committed.values)) == steps


def test_there_is_no_action_before_the_plan_after_it_or_without_it() -> None:
    buffer = ChunkBuffer(CARD)
    assert buffer.at(0.1) is None
    new = chunk(np.random.default_rng(0), 1.0)
    buffer.splice(new, 1.0, take_over)
    assert buffer.at(0.99) is None
    np.testing.assert_array_equal(buffer.at(1.05), new.values[0])
    np.testing.assert_array_equal(buffer.at(2.6), new.values[-1])
    assert buffer.at(2.61) is None
    buffer.clear()
    assert buffer.at(1.05) is None


def test_between_two_actions_lies_their_middle_and_the_gripper_switches() -> None:
    start, end = np.zeros(7), np.array([0.1, 0, 0, 0, 0, np.pi / 2, 1.0])
    middle = Mixing(CARD).between(start, end, 0.5)
    np.testing.assert_allclose(middle, [0.05, 0, 0, 0, 0, np.pi / 4, 1.0], atol=1e-12)


@given(data=st.data())
def test_rotations_are_mixed_the_short_way(data: Any) -> None:
    turn = st.lists(st.floats(-1.8, 1.8), min_size=3, max_size=3)
    start, end = np.zeros(7), np.zeros(7)
    start[3:6], end[3:6] = data.draw(turn), data.draw(turn)
    middle = Mixing(CARD).between(start, end, 0.5)[3:6]
    R_start, R_middle, R_end = (matrix_from_rotvec(r) for r in (start[3:6], middle, end[3:6]))
    first, second, whole = (
        np.linalg.norm(rotvec_from_matrix(b @ a.T))
        for a, b in ((R_start, R_middle), (R_middle, R_end), (R_start, R_end))
    )
    np.testing.assert_allclose([first, second], [whole / 2, whole / 2], atol=1e-6)


def test_a_body_that_waited_plays_the_first_actions_from_now() -> None:
    buffer = ChunkBuffer(CARD)
    new = chunk(np.random.default_rng(0), 1.0)
    buffer.splice(new, 1.37, StartAnew(4))
    np.testing.assert_array_equal(buffer.at(1.47), new.values[0])
    np.testing.assert_array_equal(buffer.at(1.77), new.values[3])
    assert buffer.at(1.88) is None


@pytest.mark.parametrize(
    ("values", "times_s", "why"),
    [
        (np.zeros((0, 7)), np.zeros(0), "shape"),
        (np.zeros((2, 6)), np.array([0.1, 0.2]), "shape"),
        (np.full((2, 7), np.nan), np.array([0.1, 0.2]), "not finite"),
        (np.zeros((2, 7)), np.array([0.1, np.inf]), "not finite"),
        (np.zeros((2, 7)), np.array([0.2, 0.1]), "do not increase"),
    ],
)
def test_a_chunk_that_cannot_be_played_is_refused_whole(
    values: np.ndarray, times_s: np.ndarray, why: str
) -> None:
    buffer = ChunkBuffer(CARD)
    good = chunk(np.random.default_rng(0), 0.0)
    buffer.splice(good, 0.0, take_over)
    with pytest.raises(KinemaError, match=why):
        buffer.splice(ActionChunk(values=values, times_s=times_s, card="panda"), 0.1, take_over)
    assert buffer.plan is good
