"""What counts as right, and what those who do not look reach."""

from __future__ import annotations

import pytest

from kinema.bench.questions import Judged, majority, rates

BOX = (0.2, 0.4, 0.4, 0.6)


def _one(kind: str, answer: str, box: tuple[float, ...] | None = None) -> Judged:
    return Judged(kind=kind, question="?", answer=answer, box=box)


@pytest.mark.parametrize(
    ("judged", "said", "right"),
    [
        (_one("beside", "the red block"), "The red  block.", True),
        (_one("beside", "the red block"), "red block", True),
        (_one("beside", "the red block"), "the red", False),
        (_one("count", "1"), "11", False),
        (_one("point", "0.3, 0.5", BOX), "0.21, 0.59", True),
        (_one("point", "0.3, 0.5", BOX), "0.5, 0.3", False),
        (_one("point", "0.3, 0.5", BOX), "0.3", False),
        (_one("point", "0.3, 0.5", BOX), "", False),
        (_one("box", "", BOX), "0.2, 0.4, 0.4, 0.5", True),  # half of it
        (_one("box", "", BOX), "0.2, 0.4, 0.4, 0.49", False),
        (_one("box", "", BOX), "0.4, 0.6, 0.2, 0.4", False),
    ],
)
def test_what_is_right(judged: Judged, said: str, right: bool) -> None:
    assert judged.is_right(said) == right


def test_rates_are_counted_by_kind_and_words_are_apart_from_coordinates() -> None:
    asked = [_one("count", "1"), _one("count", "2"), _one("count", "1"), _one("point", "", BOX)]
    found = rates(asked, ["1", "1", "1", "0.9, 0.9"])
    assert (found["count"].right, found["count"].asked) == (2, 3)
    assert (found["words"].right, found["words"].asked) == (2, 3)
    assert (found["all"].right, found["all"].asked) == (2, 4)
    assert majority(asked)[:3] == ["1", "1", "1"]
