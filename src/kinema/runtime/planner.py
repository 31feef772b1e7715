"""Planning by imagination: candidate sub-instructions are imagined, and the one with the best end is obeyed.

The planner stands before a policy and speaks to it. It knows neither who imagines nor how an end is judged:
both are handed in, a world model with a detector as well as the true simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kinema.schema import ActionChunk, Film, Imagines, KinemaError, Observation, Policy, noise_seed

Propose = Callable[[Observation], Sequence[str]]
Score = Callable[[Film, str], float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was decided at a time: the chosen sentence, and every candidate's score as proposed."""

    time_s: float
    chosen: str
    scores: tuple[tuple[str, float], ...]


class PlanningPolicy:
    """A policy that is told, every so often, what to do next.

    propose: the candidates for an observation whose instruction is the goal
    score:   how well the end of a film meets the goal; more is better, the first of equals is taken
    every_s: how long a choice is kept
    """

    def __init__(
        self, policy: Policy, imagines: Imagines, propose: Propose, score: Score, *, every_s: float
    ) -> None:
        if not every_s > 0:
            raise KinemaError(f"a choice must be kept for some time; every_s is {every_s}")
        self.policy, self.imagines = policy, imagines
        self._propose, self._score, self._every_s = propose, score, every_s
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode: what is imagined and the policy's noise depend on this seed alone."""
        self._seed = seed
        self.plans: list[Plan] = []
        self.policy.reset(seed)

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        """The policy's chunk for the present choice. Raises KinemaError when nothing is proposed."""
        if not self.plans or observation.time_s - self.plans[-1].time_s >= self._every_s - 1e-6:
            self.plans.append(self._choose(observation, card_name))
        told = replace(observation, instruction=self.plans[-1].chosen)
        return self.policy.infer(told, card_name, committed)

    def _choose(self, now: Observation, card_name: str) -> Plan:
        candidates = self._propose(now)
        if not candidates:
            raise KinemaError(f"nothing was proposed for {now.instruction!r}")
        # one seed for all candidates and for what follows: they differ in the sentence alone
        seed = noise_seed(self._seed, len(self.plans))
        scores = []
        for sentence in candidates:
            film = self.imagines.imagine(now.images, sentence, card_name, seed=seed)
            scores.append((sentence, float(self._score(film, now.instruction))))
        self.policy.reset(seed)
        best = max(scores, key=lambda one: one[1])
        return Plan(time_s=now.time_s, chosen=best[0], scores=tuple(scores))
