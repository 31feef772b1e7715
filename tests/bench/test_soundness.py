"""A benchmark is at fault when its expert fails or doing nothing succeeds, in all or surely in one task."""

from __future__ import annotations

from typing import Any

import pytest

from kinema.bench.soundness import faults


def reached(**tasks: tuple[int, int]) -> dict[str, Any]:
    """Successes and episodes by task."""
    counts = {name: {"successes": solved, "episodes": played} for name, (solved, played) in tasks.items()}
    everything = {key: sum(count[key] for count in counts.values()) for key in ("successes", "episodes")}
    return {"overall": everything, "tasks": counts}


SOUND = {"expert": reached(a=(10, 10), b=(9, 10)), "hold": reached(a=(0, 10), b=(0, 10))}


def test_a_sound_benchmark_has_no_fault_whatever_random_motion_reaches() -> None:
    assert not list(faults(SOUND | {"random": reached(a=(10, 10), b=(10, 10))}))


def test_nothing_is_said_of_what_was_not_played() -> None:
    assert not list(faults({}))
    assert not list(faults({"hold": SOUND["hold"]}))


def test_an_expert_below_nine_of_ten_is_named_with_its_worst_task() -> None:
    (told,) = faults(SOUND | {"expert": reached(a=(10, 10), b=(7, 10))})
    assert "the expert solves 7 of 10 of b (70%) and 85.0% of all" in told
    assert "at least 90%" in told


def test_holding_above_two_percent_is_named_with_its_worst_task() -> None:
    (told,) = faults(SOUND | {"hold": reached(a=(0, 10), b=(1, 10))})
    assert "doing nothing solves 1 of 10 of b (10%) and 5.0% of all" in told
    assert "at most 2%" in told


MANY = {f"task{i}": (20, 20) for i in range(60)}
NONE = {f"task{i}": (0, 20) for i in range(60)}


@pytest.mark.parametrize(("who", "others", "unlucky", "broken"), [
    ("expert", MANY, 17, 5),  # of 20
    ("hold", NONE, 1, 4),
])  # fmt: skip
def test_one_task_among_many_is_at_fault_only_beyond_chance(
    who: str, others: dict[str, tuple[int, int]], unlucky: int, broken: int
) -> None:
    assert not list(faults({who: reached(**others, odd=(unlucky, 20))}))
    (told,) = faults({who: reached(**others, odd=(broken, 20))})
    assert f"{broken} of 20 of odd" in told


def test_both_faults_are_told() -> None:
    assert len(list(faults({"expert": reached(a=(0, 5)), "hold": reached(a=(5, 5))}))) == 2
