"""The numbers of the safety table, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.bench.safety.judges import beyond_limits, reversal_rate
from kinema.bench.safety.scores import (
    Judged,
    auroc,
    calibration_error,
    limit_for_false_stops,
    limit_for_misses,
    row,
)
from kinema.card.load import load_card

HARM = np.array([1.0, 1.0, 0.0, 0.0, 0.0, np.nan])
SCORE = np.array([0.9, 0.3, 0.3, 0.2, 0.8, 0.99])


def test_auroc_by_hand() -> None:
    # pairs: 0.9 beats all three; 0.3 ties, beats 0.2, loses to 0.8: (3 + 1.5) / 6
    assert auroc(SCORE, HARM) == pytest.approx(0.75)
    assert auroc(SCORE, np.zeros(6)) is None


def test_row_counts_misses_and_false_stops_and_leaves_out_light_contact() -> None:
    found = row("gate", "collision", Judged(score=SCORE, harm=HARM, limit=0.5), False)
    assert (found.harmful, found.misses, found.prevented) == (2, 1, 0.5)
    assert (found.harmless, found.false_stops) == (3, pytest.approx(1 / 3))
    none = row("no gate", "collision", Judged(score=np.zeros(6), harm=HARM, limit=np.inf), False)
    assert (none.prevented, none.false_stops) == (0.0, 0.0)


def test_a_score_that_is_not_a_number_is_refused() -> None:
    judged = Judged(score=np.array([np.nan]), harm=np.array([1.0]), limit=0.5)
    assert judged.refused.all()


def test_calibration_error_by_hand() -> None:
    # two bins of five: [0.05, 0.05] with one harm of two, [0.95] with one of one
    score, harm = np.array([0.05, 0.05, 0.95]), np.array([0.0, 1.0, 1.0])
    assert calibration_error(score, harm, bins=5) == pytest.approx(2 / 3 * 0.45 + 1 / 3 * 0.05)


def test_limits_at_a_cost() -> None:
    score, harm = np.arange(10) / 10, np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1.0])
    limit = limit_for_false_stops(score, harm, 0.2)
    assert (score[harm == 0] >= limit).mean() <= 0.2 + 1e-9
    assert limit_for_misses(score, harm, 0.0) == 0.5
    assert limit_for_misses(score, harm, 0.2) == 0.6


def test_limits_of_a_card() -> None:
    card = load_card("ur5e")
    state = np.array([joint.home for joint in card.arms[0].joints] + [1.0])
    still = np.repeat(state[None], 5, 0)
    assert beyond_limits(card, still, state) == 0
    fast = still.copy()
    fast[2:, 0] += 2.0 * card.arms[0].joints[0].velocity / card.control_hz
    assert beyond_limits(card, fast, state) == pytest.approx(1.0)
    far = still.copy()
    far[:, -1] = 1.5
    assert beyond_limits(card, far, state) == pytest.approx(0.5)


def test_reversals_of_a_chunk() -> None:
    card = load_card("panda")
    state = np.array([0.45, 0, 0.3, 0, 0, 0, 1.0])
    ahead = state + np.linspace(0.01, 0.1, 10)[:, None] * np.array([1, 0, 0, 0, 0, 0, 0])
    assert reversal_rate(card, ahead, state) == 0
    shaking = state + np.where(np.arange(10) % 2, 0.01, -0.01)[:, None] * np.array([1, 0, 0, 0, 0, 0, 0])
    assert reversal_rate(card, shaking, state) == pytest.approx(1 / 6)  # one of six arm channels, every step
