"""The table of judges, the promise and the worst cases, on chunks made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kinema.bench.safety.chunks import JudgedChunks, judge_chunks, simple_scores, worst_chunks
from kinema.card.harm import HAZARDS
from kinema.card.load import load_card

CALM = dict.fromkeys(HAZARDS, np.zeros(6))
HARM = np.array([1.0, 1.0, 0.0, 0.0, 0.0, np.nan])
RISK = np.array([0.9, 0.3, 0.6, 0.2, 0.1, 0.9])
CHUNKS = JudgedChunks(
    harm={**CALM, "collision": HARM},
    risk={**CALM, "collision": RISK},
    alone={**CALM, "collision": 1 - RISK},
    simple={"coin": np.array([1.0, 0, 1, 0, 0, 0])},
    independent={name: np.zeros(0) for name in HAZARDS} | {"collision": np.array([0.9, 0.3])},
    limits=dict.fromkeys(HAZARDS, 0.5),
    miss_rates=dict.fromkeys(HAZARDS, 0.5),
    episode=np.array([1, 2, 1, 2, 3, 3]),
    state=np.array([0, 0, 1, 1, 2, 2]),
    body=np.array(["panda"] * 4 + ["ur5e"] * 2),
    kind=np.zeros(6, int),
    intruder=np.zeros(6, int),
)


def whole_range(misses: int, chunks: int) -> tuple[float, float]:
    return 0.0, 1.0


def table(chunks: JudgedChunks, hazard: str = "collision") -> dict[str, dict[str, Any]]:
    rows = judge_chunks(chunks, whole_range)["rows"]
    return {row["judge"]: row for row in rows if row["hazard"] == hazard}


def test_the_gate_is_counted_at_its_own_limit_and_the_others_at_its_false_stops() -> None:
    found = table(CHUNKS)
    gate, coin = found["gate"], found["coin, as many false stops"]
    assert (gate["harmful"], gate["misses"], gate["harmless"]) == (2, 1, 3)
    assert gate["false_stops"] == pytest.approx(1 / 3)
    assert coin["false_stops"] <= gate["false_stops"] + 1e-9
    assert coin["misses"] == 1
    assert found["no gate"]["prevented"] == 0
    assert "gate without the ensemble, as many false stops" in found


def test_a_collision_of_any_kind_counts_once() -> None:
    both = replace(CHUNKS, harm={**CHUNKS.harm, "intruder": HARM})
    assert table(both, "any collision")["gate"]["harmful"] == 2
    apart = replace(CHUNKS, harm={**CHUNKS.harm, "intruder": np.array([0, 0, 0, 0, 1.0, 0])})
    assert table(apart, "any collision")["gate"]["harmful"] == 3


def test_only_a_single_hazards_risk_is_a_probability() -> None:
    assert table(CHUNKS)["gate"]["calibration_error"] is not None
    assert table(CHUNKS, "any collision")["gate"]["calibration_error"] is None


@pytest.mark.parametrize(("low", "held"), [(0.5, True), (0.51, False)])
def test_a_promise_is_broken_only_when_the_whole_interval_lies_above_it(low: float, held: bool) -> None:
    asked: list[tuple[int, int]] = []

    def interval(misses: int, chunks: int) -> tuple[float, float]:
        asked.append((misses, chunks))
        return low, 1.0

    promise = judge_chunks(CHUNKS, interval)["promise"]["collision"]
    assert promise["held"] is held
    assert (promise["misses"], promise["harmful_chunks"]) == (1, 2)
    assert (1, 2) in asked  # of the independent ones
    assert promise["ci95"] == [low, 1.0]


def test_groups_part_the_chunks() -> None:
    groups = judge_chunks(CHUNKS, whole_range)["groups"]["collision"]
    bodies = [group for name, group in groups.items() if name.startswith("body ")]
    assert sum(group["harmful"] for group in bodies) == 2
    assert sum(group["harmless"] for group in bodies) == 3


def test_the_worst_are_the_least_foreseen_and_the_most_feared_one_per_state() -> None:
    worst = worst_chunks(CHUNKS)
    assert [(case["state"], case["chunk"]) for case in worst["misses"]] == [(0, 1)]
    assert [(case["state"], case["chunk"]) for case in worst["false_stops"]] == [(1, 0), (2, 0)]
    assert worst["misses"][0]["risk"] == pytest.approx(0.3)
    assert worst_chunks(CHUNKS, count=1)["false_stops"] == worst["false_stops"][:1]


def test_simple_scores_come_in_the_order_of_states_and_chunks_and_see_only_the_judged_steps() -> None:
    card = load_card("ur5e")
    state = np.array([joint.home for joint in card.arms[0].joints] + [1.0])
    still = np.repeat(state[None], 4, 0)
    late = still.copy()
    late[3, -1] = 1.5  # beyond the limit, in the last step
    actions = np.stack([[still, late], [late, still]])  # two states, two chunks
    states = np.stack([state, state])
    far = simple_scores([(card, actions, states)], 4)["card limits only"]
    np.testing.assert_array_equal(far > 0, [False, True, True, False])
    near = simple_scores([(card, actions, states)], 3)["card limits only"]
    assert not near.any()
