"""The control loop: observe, ask without waiting, splice, guard, act, record, at the card's rate.

Nothing in here waits for the policy. What it answers is played when it is due; what is late, refused or
wrong is not played, and then the card's hold rule acts: the body holds, and after a while it is stopped.
A body that cannot be read for a moment holds too. Every way out of `run` sends the card's hold action last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kinema.runtime.buffer import ChunkBuffer, StartAnew, check_chunk, check_times
from kinema.runtime.cameras import StillCameras
from kinema.runtime.clock import Clock
from kinema.runtime.guard import Guard, Guarded
from kinema.runtime.hands import Hands
from kinema.runtime.inference import Answer, Ask, Inference
from kinema.runtime.record import Recorder, Step
from kinema.runtime.robot import Body
from kinema.runtime.sending import Sender
from kinema.runtime.strategy import LatencyEstimate, Strategy
from kinema.runtime.teleop.operator import Operator
from kinema.runtime.watchdog import Mode, Watchdog
from kinema.schema import ActionChunk, KinemaError, Observation

LOOKING = "standing still to look before a hand moves"
FIRST_ANSWER_LIMIT_S = 60.0  # the first answer may have to load and compile


@dataclass
class Counts:
    """What happened to the questions of a run, and how often its body could not be read."""

    asked: int = 0
    answered: int = 0
    thrown_away: int = 0  # answers to questions that had been given up, or about what was seen too long ago
    refused: int = 0  # chunks that a gate did not allow
    failed: int = 0  # errors and chunks that cannot be played
    missing: int = 0  # observations
    latency_s: list[float] = field(default_factory=list)


class ControlLoop:
    """Drives one body by one policy. `run` until it is done, or `begin`, `step` by step and `rest`.

    recorder:       called with every step, after its action was sent
    answer_limit_s: how old the observation behind an answer may be when it comes; the card's where None
    command_hz:     how often the robot takes a target between two control steps; where None, what the robot
                    says itself (an attribute `command_hz`), and once a control step where it does not
    operator:       a person who may have the body instead of the policy; guard and watchdog stay
    """

    def __init__(
        self,
        body: Body,
        inference: Inference,
        clock: Clock,
        strategy: Strategy,
        *,
        recorder: Recorder | None = None,
        answer_limit_s: float | None = None,
        command_hz: float | None = None,
        operator: Operator | None = None,
    ) -> None:
        self.body, self.card, self.clock, self.strategy = body, body.card, clock, strategy
        self.period_s = 1.0 / self.card.control_hz
        self.guard, self.watchdog, self.buffer = Guard(self.card), Watchdog(self.card), ChunkBuffer(self.card)
        self.hands, self.cameras = Hands(self.card), StillCameras(self.card)
        self.sender = Sender(body, clock, command_hz or getattr(body.robot, "command_hz", None))
        self._start_anew = StartAnew(self.card.chunk)
        self._inference, self._recorder, self._operator = inference, recorder, operator
        limit_s = self.card.motion.answer_limit_s if answer_limit_s is None else answer_limit_s
        self._answer_limit_s = limit_s
        self.counts = Counts()
        self.reason = ""
        self._instruction = ""
        self._question: tuple[int, float] | None = (
            None  # number of the one that is waited for; its observation
        )
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

        The first command is the measured position (or zeros, for a body that holds so). Answers to anything
        asked before are thrown away. Raises KinemaError when the body's state is bad or lies outside its
        card's ranges; then nothing was sent.
        """
        observation = self._first_observation(instruction)
        now_s = self.clock.now_s()
        standing = self.guard.anchor(observation.state)
        self.watchdog.reset()
        self.cameras.reset()
        self.buffer.clear()
        self.counts, self.reason, self._instruction = Counts(), "", instruction
        self._question, self._asked_s, self._next_s = None, -np.inf, now_s
        self._looking, self._stood, self._told = False, False, None
        self._began_s, self._seen, self._unsent, self._rested = now_s, observation, "", False
        self._missing = False
        self.sender.begin(standing)

    def run(self, instruction: str, *, max_steps: int, done: Callable[[], bool] = lambda: False) -> Mode:
        """Steps until `done()`, `max_steps` or a stop; how it stands then. `reason` says why it stopped.

        The card's hold action is the last thing sent, whatever ends it.
        """
        self.begin(instruction)
        mode = Mode.WAITING
        try:
            for _ in range(max_steps):
                mode = self.step().mode
                self.wait()
                if mode == Mode.STOPPED or done():
                    break
        except BaseException as error:
            try:
                self.rest()
            except Exception as another:  # what went wrong first is what is told
                error.add_note(f"the hold action could not be sent either: {another}")
            raise
        try:
            self.rest()
        except OSError as error:
            raise KinemaError(f"the hold action could not be sent to {self.card.name}: {error}") from error
        return mode

    def wait(self) -> None:
        """Sleep until the next step is due. Steps that were missed are left out, not made up for."""
        now_s = self.clock.now_s()
        ahead_s = self._next_s + self.period_s - now_s
        on_time = 0.0 < ahead_s <= self.period_s
        self._next_s = (
            self._next_s + self.period_s if on_time else now_s + (self.period_s if ahead_s > 0 else 0)
        )
        self._unsent = self.sender.between_until(self._next_s) or self._unsent
        self.clock.sleep_until(self._next_s)

    def rest(self) -> None:
        """Send the card's hold action until the commands stand still, as fast as its braking lets them."""
        unknown = np.full_like(self._seen.state, np.nan)
        state = unknown if self._missing else self._seen.state
        for _ in range(2 + int(np.ceil(self.guard.time_to_stand_s / self.period_s))):
            held = self.guard.check(None, now_s=self.clock.now_s(), state=state).action
            self.sender.send(held)
            if self.guard.at_rest:
                break
            state = unknown  # what was measured once says nothing of where it is then
            now_s = self.clock.now_s()
            self.sender.between_until(now_s + self.period_s)
            self.clock.sleep_until(now_s + self.period_s)
        self.sender.finish()

    def step(self) -> Step:
        """One control period's work."""
        began_s = self.clock.now_s()
        problem, observation = self._observe(began_s)
        now_s = self.clock.now_s()  # the reading may have taken long
        self._give_up_the_old(now_s)
        self._receive(now_s)
        person = None
        if not problem:
            problem, person = self._asked_of_a_person(observation, now_s)
        if not problem and person is None and self._may_ask(now_s):
            self._ask(observation, now_s)
            self._receive(now_s)  # a policy without latency has answered already
        due_s = now_s + self.period_s
        asked = person
        if person is None and not problem and not self.watchdog.overdue(now_s):
            asked = self.buffer.at(due_s)
        self._told = self._told if asked is None else self.hands.told(asked)
        guarded = self._guard(asked, observation, due_s)
        mode = self._judge(guarded, problem, now_s)
        plan = self.buffer.plan if asked is not None and person is None else None
        if guarded.astray:
            self._forget_the_plan()
        step = Step(
            time_s=began_s,
            observation=observation,
            asked=asked,
            sent=self._send(guarded.action, mode),
            mode=mode,
            verdict=plan.verdict if plan else None,
            latency_s=self._latency_s if plan else None,
            age_s=due_s - self._observed_s if plan else None,
            reason="" if mode == Mode.RUNNING else self.reason,
            changes=guarded.changes,
            seen=not self._missing,
            by_person=person is not None,
        )
        if self._recorder is not None:
            self._recorder(step)
        return step

    # -- the body

    def _first_observation(self, instruction: str) -> Observation:
        """What the body senses when a run begins; failed readings are tried again for a while."""
        began_s = self.clock.now_s()
        while True:
            try:
                return self.body.observe(instruction, self.clock.now_s())
            except OSError as error:
                now_s = self.clock.now_s()
                if not 0.0 <= now_s - began_s < self.watchdog.stop_after_s:
                    raise KinemaError(f"{self.card.name} cannot be read: {error}") from error
                self.clock.sleep_until(now_s + self.period_s)

    def _observe(self, now_s: float) -> tuple[str, Observation]:
        """Why the body may not act on what is seen now ("" when it may), and the newest observation."""
        try:
            observation = self.body.observe(self._instruction, now_s)
        except (OSError, KinemaError) as error:
            self.counts.missing += 1
            self._missing = True
            return f"{self.card.name} cannot be read: {error}", self._seen
        self._missing, self._seen = False, observation
        unsent, self._unsent = self._unsent, ""
        if unsent or not np.isfinite(now_s):
            return unsent or f"the clock says {now_s}", observation
        blurred = [name for name, image in observation.images.items() if not _finite(image)]
        if blurred or not _finite(observation.state):
            what = f"camera {', '.join(blurred)}" if blurred else "the measured state"
            return f"{what} is not finite", observation
        stopped = self.cameras.stopped(observation, now_s)
        if stopped:
            self._forget_the_plan()  # it was made from pictures of what was
        return stopped, observation

    def _guard(self, asked: np.ndarray | None, observation: Observation, due_s: float) -> Guarded:
        state, torque = observation.state, observation.sensors.get("torque")
        if self._missing:
            state, torque = np.full_like(state, np.nan), None
        return self.guard.check(asked, now_s=self.clock.now_s(), due_s=due_s, state=state, torque=torque)

    def _send(self, action: np.ndarray, mode: Mode) -> np.ndarray | None:
        """What the robot says it took. A stopped body is told to hold until it stands, and then nothing."""
        if mode == Mode.STOPPED:
            if self._rested:
                return None
            self._rested = self.guard.at_rest
        try:
            return self.sender.send(action)
        except OSError as error:
            self.guard.not_sent()
            self._unsent = f"{self.card.name} takes no command: {error}"
            return None

    def _judge(self, guarded: Guarded, problem: str, now_s: float) -> Mode:
        mode = self.watchdog.see(now_s, fresh=guarded.fresh, seen=not problem)
        if problem:
            self.reason = problem
        elif mode == Mode.RUNNING:
            self.reason = ""
        elif guarded.astray:
            self.reason = guarded.changes[0]
        elif self.reason not in ("", LOOKING):
            pass  # what is known already says more
        elif mode == Mode.STOPPED:
            self.reason = f"no fresh action for {self.watchdog.stop_after_s:g} s"
        else:
            self.reason = LOOKING if self._looking else guarded.changes[0]
        if mode == Mode.WAITING and now_s - self._began_s > FIRST_ANSWER_LIMIT_S:
            self.watchdog.mode = mode = Mode.STOPPED
        return mode

    # -- a person

    def _asked_of_a_person(self, observation: Observation, now_s: float) -> tuple[str, np.ndarray | None]:
        """Why the body may not act ("" when it may), and what the person who has it wants.

        Who takes over ends the plan: when they hand the body back, the policy is asked anew.
        """
        if self._operator is None:
            return "", None
        try:
            person = self._operator.act(observation.state, now_s)
        except OSError as error:
            self._forget_the_plan()  # the body was a person's: no plan from before goes on
            return f"the person's device is lost: {error}", None
        if person is not None:
            self._forget_the_plan()
            if person.shape != (len(self.card.actions),) or not np.isfinite(person).all():
                return f"the person's device says {person}", None
        return "", person

    # -- the policy

    def _forget_the_plan(self) -> None:
        """What was planned, and what is asked about, believes in another world than this."""
        self.buffer.clear()
        self._question = None

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
        self._question = (self._number, observation.time_s)
        self._asked_s, self._stood = now_s, self._stands(now_s)
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
        observed_s = self._question[1]
        latency_s = max(now_s - observed_s, 0.0)
        self._question = None
        self.counts.answered += 1
        self.counts.latency_s.append(latency_s)
        self._estimate.add(latency_s)
        if latency_s > self._answer_limit_s + 1e-6:  # the first may come late; it is not played then
            self.counts.thrown_away += 1
            self.reason = f"an answer about what was seen {latency_s:.1f} s ago"
            return
        self._take(answer, now_s, observed_s)

    def _take(self, answer: Answer, now_s: float, observed_s: float) -> None:
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
            check_chunk(chunk, self.card)
            check_times(chunk, self.card, observed_s)
            self._splice(chunk, now_s)
            self._observed_s, self._latency_s = observed_s, self.counts.latency_s[-1]
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
        told = self._told
        playable = chunk if told is None else self.hands.before_they_change(chunk, told, now_s)
        self._looking = playable is not chunk
        if playable is None:
            self.buffer.clear()
        else:
            self.buffer.splice(playable, now_s, self.strategy.splice)


def _finite(numbers: np.ndarray) -> bool:
    return numbers.dtype.kind != "f" or bool(np.isfinite(numbers).all())
