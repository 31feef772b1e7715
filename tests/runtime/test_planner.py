"""Planning by imagination on a line: a perfect imagination does no worse than the plain sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from kinema.runtime.planner import PlanningPolicy
from kinema.schema import ActionChunk, Film, KinemaError, Observation

GOAL = 8.0


class Walker:
    """Understands some sentences: how far it goes in one chunk. Its noise depends on its seed alone."""

    def __init__(self, meanings: Mapping[str, float]) -> None:
        self.meanings = meanings
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def infer(self, observation: Observation, card_name: str, committed: object = None) -> ActionChunk:
        step = self.meanings.get(observation.instruction, 0.0) + 0.3 * self._rng.standard_normal()
        return ActionChunk(
            values=np.array([[step]]), times_s=np.array([observation.time_s + 1]), card=card_name
        )


class Line:
    """The world, and perfect imagination of it: the same walker from the same place, one choice ahead."""

    def __init__(self, walker: Walker, steps: int) -> None:
        self.walker, self.steps, self.at = walker, steps, 0.0

    def observe(self, sentence: str, time_s: float) -> Observation:
        return Observation(images={}, state=np.array([self.at]), instruction=sentence, time_s=time_s)

    def imagine(
        self, images: Mapping[str, np.ndarray], instruction: str, card: str, *, seed: int = 0
    ) -> Film:
        self.walker.reset(seed)
        self.end = self.at
        for step in range(self.steps):
            self.end += float(self.walker.infer(self.observe(instruction, step), card).values[0, 0])
        frames = np.zeros((2, 1, 2, 2, 3), np.uint8)
        return Film(frames=frames, cameras=("eye",), fps=1.0, card=card, instruction=instruction)


def arrive(meanings: Mapping[str, float], candidates: Sequence[str], seed: int, planned: bool) -> float:
    """How far from the goal the walker ends after twelve seconds."""
    walker = Walker(meanings)
    line = Line(walker, steps=3)
    policy = PlanningPolicy(
        walker,
        line,
        lambda now: candidates if planned else candidates[:1],
        lambda film, goal: -abs(line.end - GOAL),
        every_s=3.0,
    )
    policy.reset(seed)
    for time_s in range(12):
        line.at += float(policy.infer(line.observe(candidates[0], time_s), "card").values[0, 0])
    return abs(line.at - GOAL)


def test_perfect_imagination_is_never_worse_where_the_plain_sentence_may_be_chosen() -> None:
    meanings = {"go": 0.2, "run": 1.0, "back": -1.0, "wait": 0.0}
    plain = np.array([arrive(meanings, list(meanings), seed, planned=False) for seed in range(40)])
    planned = np.array([arrive(meanings, list(meanings), seed, planned=True) for seed in range(40)])
    assert (planned < 1.0).sum() > (plain < 1.0).sum()
    assert (planned < 2.0).all()
    assert planned.mean() < 0.2 * plain.mean()


def test_what_was_imagined_is_what_then_happens() -> None:
    walker = Walker({"go": 1.0})
    line = Line(walker, steps=3)
    ends: list[float] = []

    def score(film: Film, goal: str) -> float:
        ends.append(line.end)
        return 0.0

    policy = PlanningPolicy(walker, line, lambda now: ["go"], score, every_s=3.0)
    policy.reset(5)
    for time_s in range(6):
        line.at += float(policy.infer(line.observe("go", time_s), "card").values[0, 0])
        if time_s % 3 == 2:
            assert line.at == pytest.approx(ends[-1])
    assert len(ends) == len(policy.plans) == 2


def test_the_first_of_equals_is_taken_and_all_scores_are_kept() -> None:
    walker = Walker({})
    policy = PlanningPolicy(walker, Line(walker, 1), lambda now: ["a", "b"], lambda f, g: 1.0, every_s=1.0)
    policy.reset(0)
    policy.infer(Line(walker, 1).observe("a", 0.0), "card")
    assert policy.plans[0].chosen == "a"
    assert policy.plans[0].scores == (("a", 1.0), ("b", 1.0))


def test_nothing_to_choose_from_is_an_error() -> None:
    walker = Walker({})
    policy = PlanningPolicy(walker, Line(walker, 1), lambda now: [], lambda f, g: 0.0, every_s=1.0)
    with pytest.raises(KinemaError, match="nothing was proposed"):
        policy.infer(Line(walker, 1).observe("go", 0.0), "card")
    with pytest.raises(KinemaError, match="every_s"):
        PlanningPolicy(walker, Line(walker, 1), lambda now: [], lambda f, g: 0.0, every_s=0.0)
