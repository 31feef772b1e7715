"""Answers to questions about pictures, judged against what is true, by kind of question.

Beside who is judged stand two that do not look: the same policy shown an empty picture, and the commonest
answer to that kind of question. Words must be the same, but for case, a stop and an article; a point must lie
in the thing's box, a box must share half of the area that both cover (PASCAL VOC's rule).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinema.bench.metrics.intervals import wilson95

POLICY, BLIND, MAJORITY = "policy", "blind", "majority"
_NUMBERS = re.compile(r"\d*\.?\d+")
_ARTICLE = re.compile(r"^(?:the|a|an) ")
_SHARED = 0.5
Box = Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A question with its true answer. box: of the thing that is pointed at"""

    kind: str
    question: str
    answer: str
    box: Box | None = None

    def is_right(self, said: str) -> bool:
        if self.box is not None and self.kind in ("point", "box"):
            numbers = [float(number) for number in _NUMBERS.findall(said)]
            return (
                _inside(numbers, self.box) if self.kind == "point" else _shared(numbers, self.box) >= _SHARED
            )
        return _plain(said) == _plain(self.answer)


@dataclass(frozen=True, kw_only=True)
class Rate:
    right: int
    asked: int

    def to_json(self) -> dict[str, Any]:
        return {"right": self.right, "asked": self.asked, "ci95": list(wilson95(self.right, self.asked))}

    def __str__(self) -> str:
        low, high = wilson95(self.right, self.asked)
        return f"{self.right / max(self.asked, 1):.1%} ({low:.1%} to {high:.1%})"


def rates(asked: Sequence[Judged], said: Sequence[str]) -> dict[str, Rate]:
    """By kind of question, then of all questions that are not about coordinates (`words`), and of `all`."""
    right = [one.is_right(answer) for one, answer in zip(asked, said, strict=True)]

    def of(kinds: set[str]) -> Rate:
        chosen = [r for r, one in zip(right, asked) if one.kind in kinds]
        return Rate(right=sum(chosen), asked=len(chosen))

    kinds = list(dict.fromkeys(one.kind for one in asked))
    every = {kind: of({kind}) for kind in kinds}
    return {**every, "words": of(set(kinds) - {"point", "box"}), "all": of(set(kinds))}


def majority(asked: Sequence[Judged]) -> list[str]:
    """To each question the commonest answer of its kind among these."""
    by_kind: dict[str, Counter[str]] = {}
    for one in asked:
        by_kind.setdefault(one.kind, Counter())[one.answer] += 1
    return [by_kind[one.kind].most_common(1)[0][0] for one in asked]


def to_json(found: Mapping[str, Mapping[str, Rate]]) -> dict[str, Any]:
    """Rates by who was asked and kind."""
    return {who: {kind: rate.to_json() for kind, rate in of.items()} for who, of in found.items()}


def _plain(text: str) -> str:
    return _ARTICLE.sub("", " ".join(text.lower().strip().rstrip(".").split()))


def _inside(point: Sequence[float], box: Box) -> bool:
    return len(point) == 2 and box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _shared(one: Sequence[float], other: Box) -> float:
    """Intersection over union."""
    if len(one) != 4 or one[2] <= one[0] or one[3] <= one[1]:
        return 0.0
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    return both / (areas - both)
