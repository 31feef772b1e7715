"""Long tasks: a planner says the next steps, the policy does each, a check says whether it is done.

The whole stands before a policy and is one itself, so any loop that plays chunks plays it. Between two steps
the body goes back to where it began: from there the policy knows every task, and nothing hides the table from
the check. A step that is not done is tried again, in other words; when its tries are used up the planner is
asked for another way; when the budget is, the body holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.runtime.policy import hold_action
from kinema.schema import ActionChunk, KinemaError, Observation, Policy, noise_seed

_STEP_OF_UNIT = {"m": 0.035, "rad": 0.15, "fraction": 0.3}  # of the way back, in 0.1 s
_ROUNDING_S = 1e-6
_LIKELY_TWICE = 2  # looks in a row that must find a step done before it is left


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One try at a step. chance: what the check said at its end, None where there was none."""

    step: str
    said: str
    number: int
    began_s: float
    ended_s: float
    done: bool
    chance: float | None


class Planner(Protocol):
    """Makes steps of a goal. Raises KinemaError when it cannot."""

    def plan(self, goal: str, seen: Sequence[str], tried: Sequence[Tried]) -> Sequence[str]:
        """The steps from now on, in order; none when nothing is left or there is no other way.

        seen: names of the things in the pictures; tried: all tries so far, in order
        """
        ...


class Check(Protocol):
    """limit: the chance from which a step counts as done."""

    limit: float

    def chance(self, observation: Observation, step: str) -> float:
        """The probability that a step is done, from what is seen."""
        ...


class Language(Protocol):
    """What the policy's sentences mean for a plan."""

    def require(self, step: str) -> None:
        """Raises KinemaError when the policy cannot act on a step."""
        ...

    def lasting(self, steps: Sequence[str]) -> Sequence[bool]:
        """Of each step, whether what it brings about is still to be seen after all the others."""
        ...

    def other_words(self, step: str, number: int) -> str:
        """The same step in other words, for its try of that number from 1 on; 1 gives the step itself."""
        ...


@dataclass(frozen=True, kw_only=True)
class Budget:
    """try_s: of one try; tries: of one step; plans: how often the planner is asked; total_s: of it all.

    look_s: between two looks of the check
    """

    try_s: float = 12.0
    tries: int = 3
    plans: int = 3
    total_s: float = 240.0
    look_s: float = 0.4

    def __post_init__(self) -> None:
        if min(self.try_s, self.tries, self.plans, self.total_s, self.look_s) <= 0:
            raise KinemaError(f"a budget's numbers must be above 0; got {self}")


@dataclass(frozen=True, kw_only=True)
class LongReport:
    """What was done. plans: what the planner said, each time; error: why no step could be taken, or empty."""

    goal: str
    plans: Sequence[Sequence[str]]
    tried: Sequence[Tried]
    is_over: bool
    claims_success: bool
    cause: str
    error: str = ""

    @property
    def retries(self) -> int:
        return sum(one.number > 1 for one in self.tried)


class LongTaskPolicy:
    """A policy for sentences that take several steps. `report` says what it has done so far.

    check: None plays every step once for `budget.try_s`, looking at nothing
    see:   names of the things in an observation's pictures
    tell:  is told every step before it is begun, such as a world with an expert in it
    """

    def __init__(
        self,
        policy: Policy,
        planner: Planner,
        check: Check | None,
        language: Language,
        *,
        see: Callable[[Observation], Sequence[str]] = lambda _: (),
        budget: Budget = Budget(),
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.policy, self.planner, self.check, self.language = policy, planner, check, language
        self._see, self.budget, self._tell = see, budget, tell
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode. Every try has noise of its own."""
        self._seed = seed
        self._plans: list[tuple[str, ...]] = []
        self._tried: list[Tried] = []
        self._goal = ""
        self._steps: list[str] = []
        self._done: list[str] = []
        self._now: _Try | None = None
        self._way: ActionChunk | None = None
        self._cause, self._error, self._over, self._success = "not begun", "", False, False
        self._start: np.ndarray | None = None
        self.policy.reset(seed)

    @property
    def report(self) -> LongReport:
        return LongReport(
            goal=self._goal, plans=tuple(self._plans), tried=tuple(self._tried), is_over=self._over,
            claims_success=self._success, cause=self._cause, error=self._error,
        )  # fmt: skip

    @property
    def now(self) -> str:
        """The step that is being tried, empty between two."""
        return self._now.step if self._now and self._way is None else ""

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        """The policy's chunk for the present step, the way back between two, the body's hold at the end."""
        card = load_card(card_name)
        if self._start is None:
            self._start = hold_action(card, observation.state)
            self._begin(observation)
        if not self._over and observation.time_s - self._began_s >= self.budget.total_s:
            self._end(f"the budget of {self.budget.total_s:g} s is used up")
        if not self._over and self._way is not None:
            if rest := _rest(self._way, observation.time_s):
                return rest
            self._way = None
            self._arrived(observation)
        if not self._over and self._now is not None and self._is_finished(self._now, observation):
            self._way = way_back(card, observation, self._start)
            return self._way
        if self._over or self._now is None:
            return _held(card, observation)
        told = replace(observation, instruction=self._now.said)
        return self.policy.infer(told, card_name, committed)

    def _begin(self, observation: Observation) -> None:
        self._goal, self._began_s = observation.instruction, observation.time_s
        self._ask(observation)

    def _ask(self, observation: Observation) -> None:
        """A new plan, and its first step."""
        if len(self._plans) >= self.budget.plans:
            self._end(f"no other way: the planner was asked {self.budget.plans} times")
            return
        try:
            steps = tuple(self.planner.plan(self._goal, tuple(self._see(observation)), self._tried))
            for step in steps:
                self.language.require(step)
        except KinemaError as error:
            self._error = str(error)
            self._end(f"the planner failed: {error}")
            return
        self._plans.append(steps)
        self._steps = list(steps)
        if not steps:
            self._end("the planner knows no way")
            return
        self._next(observation)

    def _next(self, observation: Observation) -> None:
        """Begin the first of the steps that are left; without any, look at all once more."""
        if not self._steps:
            self._steps = self._undone(observation)
            if not self._steps:
                self._success = True
                self._end("every step was done" if self.check else "every step was played")
                return
        self._try(self._steps[0], 1, observation)

    def _undone(self, observation: Observation) -> list[str]:
        """Of what was done and should have lasted, what is no longer so."""
        if self.check is None:
            return []
        lasting = self.language.lasting(self._done)
        undone = [
            step
            for step, lasts in zip(self._done, lasting)
            if lasts and self.check.chance(observation, step) < self.check.limit
        ]
        self._done = [step for step in self._done if step not in undone]
        return undone

    def _try(self, step: str, number: int, observation: Observation) -> None:
        said = self.language.other_words(step, number)
        self._now = _Try(step=step, said=said, number=number, began_s=observation.time_s)
        self._tell(step)
        self.policy.reset(noise_seed(self._seed, len(self._tried)))

    def _is_finished(self, now: _Try, observation: Observation) -> bool:
        """Whether this try is to be left: the check finds it done, or its time is up."""
        spent_s = observation.time_s - now.began_s
        if self.check is not None and spent_s >= now.looked_s + self.budget.look_s - _ROUNDING_S:
            now.looked_s = spent_s
            now.chance = self.check.chance(observation, now.step)
            now.likely = now.likely + 1 if now.chance >= self.check.limit else 0
        return now.likely >= _LIKELY_TWICE or spent_s >= self.budget.try_s - _ROUNDING_S

    def _arrived(self, observation: Observation) -> None:
        """Back at the start: judge the try, and go on."""
        now = self._now
        assert now is not None
        done = True
        if self.check is not None:
            done = now.likely >= _LIKELY_TWICE
            if self.language.lasting([now.step])[0]:
                now.chance = self.check.chance(observation, now.step)
                done = now.chance >= self.check.limit
        self._tried.append(
            Tried(
                step=now.step, said=now.said, number=now.number, began_s=now.began_s,
                ended_s=observation.time_s, done=done, chance=now.chance,
            )
        )  # fmt: skip
        self._now = None
        if done:
            self._steps.pop(0)
            self._done.append(now.step)
            self._next(observation)
        elif now.number < self.budget.tries:
            self._try(now.step, now.number + 1, observation)
        else:
            self._ask(observation)

    def _end(self, cause: str) -> None:
        self._over, self._cause, self._now, self._way = True, cause, None, None


@dataclass(kw_only=True)
class _Try:
    """looked_s: when the check last looked, from the beginning; likely: looks in a row that found it done."""

    step: str
    said: str
    number: int
    began_s: float
    looked_s: float = 0.0
    chance: float | None = None
    likely: int = 0


def way_back(card: EmbodimentCard, observation: Observation, start: np.ndarray) -> ActionChunk:
    """The way to a pose (D,): hands do first what they did there, then a tool rises, then all moves."""
    here = hold_action(card, observation.state)
    slots = [channel.slot for channel in card.actions]
    hands = np.array(["gripper" in slot or "hand" in slot for slot in slots])
    heights = np.array([slot.endswith("ee.z") for slot in slots])
    let_go = np.where(hands, start, here)
    risen = np.where(heights, np.maximum(let_go, start), let_go)
    units = [_STEP_OF_UNIT.get(channel.unit, np.inf) for channel in card.actions]
    longest = np.array(units) * 10.0 / card.control_hz
    legs = [_leg(a, b, longest) for a, b in ((here, let_go), (let_go, risen), (risen, start))]
    values = np.concatenate([*legs, np.tile(start, (3, 1))])  # the last ones let it come to rest
    times_s = observation.time_s + (1 + np.arange(len(values))) / card.control_hz
    return ActionChunk(values=values, times_s=times_s, card=card.name)


def _leg(begin: np.ndarray, end: np.ndarray, longest: np.ndarray) -> np.ndarray:
    """Values (T, D) from one pose to another, no step longer than `longest` (D,)."""
    steps = int(np.ceil((np.abs(end - begin) / longest).max() - 1e-9))
    return begin + (end - begin) * (np.arange(1, steps + 1) / max(steps, 1))[:, None]


def _rest(way: ActionChunk, now_s: float) -> ActionChunk | None:
    """What is still to come of a way."""
    ahead = way.times_s > now_s + _ROUNDING_S
    return replace(way, values=way.values[ahead], times_s=way.times_s[ahead]) if ahead.any() else None


def _held(card: EmbodimentCard, observation: Observation) -> ActionChunk:
    times_s = observation.time_s + (1 + np.arange(card.chunk)) / card.control_hz
    values = np.tile(hold_action(card, observation.state), (card.chunk, 1))
    return ActionChunk(values=values, times_s=times_s, card=card.name)
