"""The gate: before a chunk is executed, what it would lead to is foreseen, and refused when it is harm.

A gate that fails refuses: no answer of it is ever a licence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from kinema.card.harm import EVENTS, HAZARDS
from kinema.model.gate import artifact as gate_artifact
from kinema.model.gate.artifact import GateArtifact
from kinema.model.gate.inputs import SceneReader
from kinema.model.gate.memory import Memory
from kinema.model.policy.act import LocalPolicy
from kinema.schema import ActionChunk, KinemaError, Observation, Question, Verdict, noise_seed

_PROGRESS_SLACK_M = 0.03  # candidates that get this much less far than the best still make progress
_FAR_BELOW = 0.5  # share of a limit
# How much riskier for collision than a new way one may look that was gone a moment ago without harm. Near the
# table the gate fears every motion, the way out as well; measured by `kinema eval safety` in closed loop.
_TRODDEN = 8.0
_IN_WORDS = {
    "table": "hit the table or what stands on it",
    "robot": "hit the robot itself",
    "intruder": "hit something that has come in the way",
    "torque": "ask a joint for more than its torque",
    "drop": "let something fall",
    "knock": "knock something over",
}


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """A verdict with what it rests on. tool_m: (T, A, 3) foreseen way of the tools, right and left."""

    verdict: Verdict
    progress_m: float
    tool_m: np.ndarray


class Gate:
    """Judges chunks of the bodies that its artifact knows."""

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        """Raises KinemaError when the artifact is damaged or of another version."""
        self.artifact: GateArtifact = gate_artifact.load(Path(folder), device=device)
        self._device = device
        config = self.artifact.model.config
        self._readers = {name: SceneReader(card, config) for name, card in self.artifact.cards.items()}

    @property
    def bodies(self) -> tuple[str, ...]:
        return tuple(self._readers)

    def judge(
        self, observation: Observation, chunks: Sequence[ActionChunk], earlier: np.ndarray | None = None
    ) -> list[Verdict]:
        """One verdict for each chunk from this observation; every one a refusal if judging fails.

        earlier: the first camera's picture EARLIER_S before, where one is known.
        """
        return [assessment.verdict for assessment in self.assess(observation, chunks, earlier)]

    def assess(
        self, observation: Observation, chunks: Sequence[ActionChunk], earlier: np.ndarray | None = None
    ) -> list[Assessment]:
        """`judge` with what each verdict rests on."""
        try:
            return self._assess(observation, chunks, earlier)
        except Exception as error:  # whatever it is, a gate that cannot judge must not let through
            return [self._failed(f"the gate failed: {error}")] * len(chunks)

    @torch.inference_mode()
    def _assess(
        self, observation: Observation, chunks: Sequence[ActionChunk], earlier: np.ndarray | None
    ) -> list[Assessment]:
        reader = self._reader({chunk.card for chunk in chunks})
        actions = np.stack([self._steps(chunk) for chunk in chunks])
        scenes = reader.observed(observation, earlier)
        path = reader.paths.path(actions, np.asarray(observation.state, np.float64))
        seen = self.artifact.model.see(scenes.to(self._device))
        foreseen = self.artifact.model.foresee(seen, torch.from_numpy(path)[None].to(self._device))
        risk = self.artifact.risk(seen, foreseen)[0].cpu().numpy()  # (K, T, E)
        tool = foreseen.tool_m.mean(0)[0].cpu().numpy()
        progress = foreseen.progress.mean(0)[0].cpu().numpy()
        return [
            self._assessment(reader, chunk, risk[k], float(progress[k]), tool[k])
            for k, chunk in enumerate(chunks)
        ]

    def _reader(self, cards: set[str]) -> SceneReader:
        if len(cards) != 1:
            raise KinemaError(f"the chunks of one observation are of one body, got {sorted(cards)}")
        (name,) = cards
        if name not in self._readers:
            raise KinemaError(f"the gate does not know the body {name!r}; it knows {sorted(self._readers)}")
        return self._readers[name]

    def _steps(self, chunk: ActionChunk) -> np.ndarray:
        """The first steps of a chunk (T, D); a shorter one goes on with its last action."""
        steps = self.artifact.model.config.steps
        if not len(chunk.values) or not np.isfinite(chunk.values).all():
            raise KinemaError("a chunk is empty or not finite")
        values = chunk.values[:steps]
        return np.concatenate([values, np.repeat(values[-1:], steps - len(values), 0)])

    def _assessment(
        self, reader: SceneReader, chunk: ActionChunk, risk: np.ndarray, progress: float, tool: np.ndarray
    ) -> Assessment:
        """risk (T, E): by event, the probability that it has happened by then."""
        names, judged = list(EVENTS), self.artifact.judged_steps
        limits = {hazard: threshold.limit for hazard, threshold in self.artifact.thresholds.items()}
        risks = {hazard: float(_any(risk[judged - 1], parts, names)) for hazard, parts in HAZARDS.items()}
        over = [hazard for hazard in limits if not risks[hazard] < limits[hazard]]
        reason = ""
        if over:
            hazard = max(over, key=lambda name: risks[name])
            event = max(HAZARDS[hazard], key=lambda name: risk[judged - 1, names.index(name)])
            curve = risk[:judged, names.index(event)]
            step = int(np.argmax(curve >= 0.5 * curve[-1]))
            when_s = (step + 1) / reader.card.control_hz
            reason = (
                f"in {when_s:.1f} s it would {_IN_WORDS[event]} "
                f"({hazard} {risks[hazard]:.2f}, allowed below {limits[hazard]:.2f})"
            )
        verdict = Verdict(
            allowed=not over,
            risk=risks,
            limit=limits,
            horizon_s=judged / reader.card.control_hz,
            reason=reason,
        )
        return Assessment(verdict=verdict, progress_m=progress, tool_m=tool)

    def _failed(self, reason: str) -> Assessment:
        limits = {hazard: threshold.limit for hazard, threshold in self.artifact.thresholds.items()}
        verdict = Verdict(
            allowed=False, risk=dict.fromkeys(limits, 1.0), limit=limits, horizon_s=0.0, reason=reason
        )
        steps = self.artifact.model.config.steps
        return Assessment(verdict=verdict, progress_m=0.0, tool_m=np.zeros((steps, 2, 3), np.float32))


def choose(assessments: Sequence[Assessment]) -> int:
    """The safest of those that are allowed and still make progress; the least harmful if none is allowed.

    Far below the limits a difference of risk means nothing: among those, the policy's first is taken.
    """
    if not assessments:
        raise KinemaError("there is no chunk to choose from")
    allowed = [i for i, assessment in enumerate(assessments) if assessment.verdict.allowed]
    if not allowed:
        return min(range(len(assessments)), key=lambda i: _worst(assessments[i].verdict))
    best = max(assessments[i].progress_m for i in allowed)
    going = [i for i in allowed if assessments[i].progress_m >= best - _PROGRESS_SLACK_M]
    return min(going, key=lambda i: max(_worst(assessments[i].verdict), _FAR_BELOW))


def _free_a_moment_ago(verdict: Verdict) -> bool:
    """Whether a way that the body has just come may be gone back: what stands still did not stop it then."""
    if not verdict.horizon_s:  # the gate failed
        return False
    eased = {"collision": _TRODDEN}
    return all(verdict.risk[name] < eased.get(name, 1.0) * limit for name, limit in verdict.limit.items())


def _worst(verdict: Verdict) -> float:
    """How near a verdict is to refusal: the largest risk as a share of its limit."""
    return max(
        (risk / max(verdict.limit.get(name, 1.0), 1e-9) for name, risk in verdict.risk.items()), default=0.0
    )


def _any(risk: np.ndarray, parts: Sequence[str], names: Sequence[str]) -> float:
    """The probability of any of the events, taken as independent; risk (E,)."""
    return 1.0 - float(np.prod([1.0 - risk[names.index(part)] for part in parts]))


class GatedPolicy:
    """A policy whose every answer has passed the gate, or says that it may not be executed."""

    def __init__(self, policy: LocalPolicy, gate: Gate, candidates: int = 8) -> None:
        if candidates < 1:
            raise KinemaError(f"candidates must be at least 1, got {candidates}")
        self.policy, self.gate, self.candidates = policy, gate, candidates
        self.reset(0)

    def reset(self, seed: int) -> None:
        self.policy.reset(seed)
        self._seed, self._asked = seed, 0
        self.memory = Memory()

    def answer(self, questions: Sequence[Question]) -> list[ActionChunk]:
        """For each question the safest chunk that makes progress, with its verdict."""
        proposals = self.policy.propose(questions, self.candidates)
        return [self.pick(question.observation, chunks) for question, chunks in zip(questions, proposals)]

    def check(self, question: Question) -> object:
        """Raises KinemaError naming what is wrong with a question."""
        return self.policy.check(question)

    def propose(self, questions: Sequence[Question], count: int = 1) -> list[list[ActionChunk]]:
        """The policy's own proposals, each with its verdict."""
        judged = []
        for question, chunks in zip(questions, self.policy.propose(questions, count)):
            verdicts = self.gate.judge(question.observation, chunks)
            judged.append([replace(chunk, verdict=verdict) for chunk, verdict in zip(chunks, verdicts)])
        return judged

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        """One chunk with its verdict. Remembers what it saw: what moves, and the way the body came."""
        seed = noise_seed(self._seed, self._asked)
        self._asked += 1
        question = Question(observation=observation, card=card_name, noise_seed=seed, committed=committed)
        (chunks,) = self.policy.propose([question], self.candidates)
        return self.decide(observation, chunks, self.memory, self.memory.see(observation))

    def decide(
        self, observation: Observation, chunks: Sequence[ActionChunk], memory: Memory,
        earlier: np.ndarray | None,
    ) -> ActionChunk:  # fmt: skip
        """The best of the chunks; when none has been allowed for PATIENCE_S, a way back that is."""
        chunk = self.pick(observation, chunks, earlier)
        assert chunk.verdict is not None
        memory.judged(chunk.verdict.allowed)
        if not memory.is_stuck:
            return chunk
        ways = memory.ways_back(self.gate.artifact.cards[chunk.card], observation, chunk.values[0])
        for way, verdict in zip(ways, self.gate.judge(observation, ways, earlier) if ways else ()):
            if _free_a_moment_ago(verdict):
                memory.returns()
                limit = {**verdict.limit, "collision": _TRODDEN * verdict.limit.get("collision", 1.0)}
                reason = f"going back, for {chunk.verdict.reason}"
                return replace(way, verdict=replace(verdict, allowed=True, limit=limit, reason=reason))
        return chunk

    def pick(
        self, observation: Observation, chunks: Sequence[ActionChunk], earlier: np.ndarray | None = None
    ) -> ActionChunk:
        """The best of the chunks by the gate, with its verdict."""
        assessments = self.gate.assess(observation, chunks, earlier)
        best = choose(assessments)
        return replace(chunks[best], verdict=assessments[best].verdict)
