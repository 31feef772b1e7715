"""The control loop: observe, ask without waiting, splice, guard, act, record, at the card's rate.

Nothing in here waits for the policy. What it answers is played when it is due; what is late, refused or
wrong is not played, and then the card's hold rule acts: the body holds, and after a while it is stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kinema.runtime.buffer import ChunkBuffer, StartAnew, check_chunk
from kinema.runtime.clock import Clock
from kinema.runtime.guard import Guard, Guarded
from kinema.runtime.hands import Hands
from kinema.runtime.inference import Answer, Ask, Inference
from kinema.runtime.record import Recorder, Step
from kinema.runtime.robot import Body
from kinema.runtime.strategy import LatencyEstimate, Strategy
from kinema.runtime.watchdog import Mode, Watchdog
from kinema.schema import ActionChunk, KinemaError, Observation

ANSWER_LIMIT_S = 2.0  # an older question is given up; its answer will be thrown away
LOOKING = "standing still to look before a hand moves"
FIRST_ANSWER_LIMIT_S = 60.0  # the first answer may have to load and compile


@dataclass
class Counts:
    """What happened to the questions of a run."""

    asked: int = 0
    answered: int = 0
    thrown_away: int = 0  # answers to questions that had been given up
    refused: int = 0  # chunks that a gate did not allow
    failed: int = 0  # errors and chunks that cannot be played
    latency_s: list[float] = field(default_factory=list)


class ControlLoop:
    """Drives one body by one policy. `run` until it is done, or `begin` and then `step` by step.

    recorder: called with every step, after its action was sent.
    """

    def __init__(
        self,
        body: Body,
        inference: Inference,
        clock: Clock,
        strategy: Strategy,
        *,
        recorder: Recorder | None = None,
        answer_limit_s: float = ANSWER_LIMIT_S,
    ) -> None:
        self.body, self.card, self.clock, self.strategy = body, body.card, clock, strategy
        self.period_s = 1.0 / self.card.control_hz
        self.guard, self.watchdog, self.buffer = Guard(self.card), Watchdog(self.card), ChunkBuffer(self.card)
        self.hands = Hands(self.card)
        self._start_anew = StartAnew(self.card.chunk)
        self._inference, self._recorder, self._answer_limit_s = inference, recorder, answer_limit_s
        self.counts = Counts()
        self.reason = ""
        self._instruction = ""
        self._question: tuple[int, float] | None = None  # number and time of the one that is waited for
        self._number = 0
        self._asked_s = -np.inf  # when the last question was asked
        self._looking = False  # whether the plan ends where a hand would move
        self._stood = False  # whether nothing was in play then
        self._told: np.ndarray | None = None  # the hands, by the last action of a plan
        self._observed_s = self._latency_s = 0.0  # of the plan: the observation behind it, the time it took
        self._next_s = 0.0
        self._estimate = LatencyEstimate(longest_s=self.card.chunk * self.period_s / 2)

    def begin(self, instruction: str) -> None:
        """Start anew with this instruction from where the body stands; also after it was stopped.

        Answers to anything asked before are thrown away. Raises KinemaError when the body's state is bad.
        """
        now_s = self.clock.now_s()
        self.guard.anchor(self.body.observe(instruction, now_s).state)
        self.watchdog.reset()
        self.buffer.clear()
        self.counts, self.reason, self._instruction = Counts(), "", instruction
        self._question, self._asked_s, self._next_s = None, -np.inf, now_s
        self._looking, self._stood, self._told = False, False, None
        self._began_s = now_s

    def run(self, instruction: str, *, max_steps: int, done: Callable[[], bool] = lambda: False) -> Mode:
        """Steps until `done()`, `max_steps` or a stop; how it stands then. `reason` says why it stopped."""
        self.begin(instruction)
        mode = Mode.WAITING
        for _ in range(max_steps):
            mode = self.step().mode
            self.wait()
            if mode == Mode.STOPPED or done():
                break
        return mode

    def wait(self) -> None:
        """Sleep until the next step is due. Steps that were missed are left out, not made up for."""
        now_s = self.clock.now_s()
        ahead_s = self._next_s + self.period_s - now_s
        on_time = 0.0 < ahead_s <= self.period_s
        self._next_s = (
            self._next_s + self.period_s if on_time else now_s + (self.period_s if ahead_s > 0 else 0)
        )
        self.clock.sleep_until(self._next_s)

    def step(self) -> Step:
        """One control period's work."""
        now_s = self.clock.now_s()
        observation = self.body.observe(self._instruction, now_s)
        self._give_up_the_old(now_s)
        self._receive(now_s)
        if self._may_ask(now_s):
            self._ask(observation, now_s)
            self._receive(now_s)  # a policy without latency has answered already
        due_s = now_s + self.period_s
        asked = self.buffer.at(due_s)
        self._told = self._told if asked is None else self.hands.told(asked)
        torque = observation.sensors.get("torque")
        guarded = self.guard.check(asked, now_s=now_s, due_s=due_s, state=observation.state, torque=torque)
        mode = self._judge(guarded, now_s)
        sent = None if mode == Mode.STOPPED else self.body.send(guarded.action)
        plan = self.buffer.plan if asked is not None else None
        step = Step(
            time_s=now_s,
            observation=observation,
            asked=asked,
            sent=sent,
            mode=mode,
            verdict=plan.verdict if plan else None,
            latency_s=self._latency_s if plan else None,
            age_s=due_s - self._observed_s if plan else None,
            reason="" if mode == Mode.RUNNING else self.reason,
            changes=guarded.changes,
        )
        if self._recorder is not None:
            self._recorder(step)
        return step

    # -- the policy

    def _give_up_the_old(self, now_s: float) -> None:
        """Should an answer come after all, it is to an old question."""
        if self._question is not None and not 0.0 <= now_s - self._question[1] < self._limit_s():
            self._question = None
            self.reason = "the policy did not answer in time"

    def _may_ask(self, now_s: float) -> bool:
        if self.watchdog.mode == Mode.STOPPED or self._inference.busy or self._question is not None:
            return False
        if self._stands(now_s):
            return True
        assert self.buffer.plan is not None
        if self.strategy.waits:
            return False
        if self.buffer.plan.times_s[-1] - now_s <= self._estimate.seconds:
            return False  # the answer would find the body standing, but the question would not
        since_s = now_s - self._asked_s
        return since_s >= self.strategy.replan_steps * self.period_s - 1e-6

    def _stands(self, now_s: float) -> bool:
        """Whether no plan has an action for the coming period."""
        return self.buffer.at(now_s + self.period_s) is None

    def _limit_s(self) -> float:
        return self._answer_limit_s if self.counts.answered else FIRST_ANSWER_LIMIT_S

    def _ask(self, observation: Observation, now_s: float) -> None:
        paints = self.strategy.paints
        committed = self.buffer.committed(now_s, self._estimate.seconds) if paints else None
        self._question, self._asked_s, self._stood = (self._number, now_s), now_s, self._stands(now_s)
        self._number += 1
        self.counts.asked += 1
        question = Ask(
            number=self._question[0], observation=observation, card=self.card.name, committed=committed
        )
        self._inference.ask(question, now_s)

    def _receive(self, now_s: float) -> None:
        answer = self._inference.poll(now_s)
        if answer is None:
            return
        if self._question is None or answer.number != self._question[0]:
            self.counts.thrown_away += 1
            return
        latency_s = max(now_s - self._question[1], 0.0)
        self._question = None
        self.counts.answered += 1
        self.counts.latency_s.append(latency_s)
        self._estimate.add(latency_s)
        self._take(answer, now_s)

    def _take(self, answer: Answer, now_s: float) -> None:
        """Let the answer into the plan, if it may be."""
        if answer.chunk is None:
            self.counts.failed += 1
            if not isinstance(answer.error, KinemaError | OSError):  # neither the user's nor the network's
                raise answer.error or RuntimeError("an answer without chunk and without error")
            self.reason = f"the policy cannot answer: {answer.error}"
            return
        chunk: ActionChunk = answer.chunk
        if chunk.verdict is not None and not chunk.verdict.allowed:
            self.counts.refused += 1
            self.buffer.clear()  # what was planned before knew less than the verdict
            self.reason = f"refused: {chunk.verdict.reason}"
            return
        try:
            self._splice(chunk, now_s)
            self._observed_s, self._latency_s = self._asked_s, self.counts.latency_s[-1]
        except KinemaError as error:
            self.counts.failed += 1
            self.reason = str(error)

    def _splice(self, chunk: ActionChunk, now_s: float) -> None:
        """An answer about a standing body is played from its beginning; any other as far as it may be."""
        if self.strategy.waits:
            self.buffer.splice(chunk, now_s, self.strategy.splice)
            return
        if self._stood and self._stands(now_s):
            self._looking = False
            self.buffer.splice(chunk, now_s, self._start_anew)
            return
        check_chunk(chunk, self.card)
        told = self._told
        playable = chunk if told is None else self.hands.before_they_change(chunk, told, now_s)
        self._looking = playable is not chunk
        if playable is None:
            self.buffer.clear()
        else:
            self.buffer.splice(playable, now_s, self.strategy.splice)

    # -- the body

    def _judge(self, guarded: Guarded, now_s: float) -> Mode:
        mode = self.watchdog.see(now_s, fresh=guarded.fresh)
        if mode == Mode.RUNNING:
            self.reason = ""
        elif self.reason not in ("", LOOKING):
            pass  # what is known already says more
        elif mode == Mode.STOPPED:
            self.reason = f"no fresh action for {self.watchdog.stop_after_s:g} s"
        else:
            self.reason = LOOKING if self._looking else guarded.changes[0]
        if mode == Mode.WAITING and now_s - self._began_s > FIRST_ANSWER_LIMIT_S:
            self.watchdog.mode = mode = Mode.STOPPED
        return mode
