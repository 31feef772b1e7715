"""The built-in planner: the sentence's own steps, by the grammar, of the things that are seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kinema.worlds.tabletop.long.words import read_long


class Attempt(Protocol):
    @property
    def step(self) -> str: ...

    @property
    def done(self) -> bool: ...


class BuiltInPlanner:
    """Knows nothing but the sentence, the names of what is seen, and what came of earlier steps."""

    def plan(self, goal: str, seen: Sequence[str], tried: Sequence[Attempt]) -> Sequence[str]:
        """The steps that are left; one that failed comes last where the order is free. Raises KinemaError."""
        if not tried:
            self._read = read_long(goal, seen)
        left = list(self._read.steps)
        for attempt in tried:
            if attempt.done and attempt.step in left:
                left.remove(attempt.step)
        failed = tried[-1].step if tried and not tried[-1].done else ""
        if failed and failed not in left:
            left.insert(0, failed)  # it was done once, and was undone
        if not self._read.ordered:
            left.sort(key=lambda step: step == failed)
        return left
