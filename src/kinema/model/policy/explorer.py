"""A trained policy that tries things and remembers what it decided, to learn from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import torch

from kinema.data import sample
from kinema.model.policy import flow, flow_sde
from kinema.model.policy.act import LocalPolicy
from kinema.model.policy.decisions import Decisions, prefilled, see, together
from kinema.schema import ActionChunk, KinemaError, Question

Trying = Literal["noise", "flow_sde"]


class Explorer(LocalPolicy):
    """Answers as `LocalPolicy`, one question at a time, and keeps its decisions until they are `taken`.

    trying: "noise" draws as in acting; "flow_sde" makes one step of every draw stochastic
    """

    def __init__(
        self, folder: Path, *, trying: Trying = "noise", level: float = flow_sde.NOISE_LEVEL,
        sample_steps: int | None = None, threads: int | None = 1,
    ) -> None:  # fmt: skip
        """level: of the stochastic step's noise. Raises KinemaError where a draw has one step only."""
        super().__init__(folder, sample_steps=sample_steps, threads=threads)
        if trying not in get_args(Trying):
            raise KinemaError(f"trying {trying!r} is unknown; choices: {', '.join(get_args(Trying))}")
        self.trying, self.level = trying, level
        self._decided: list[Decisions] = []
        self._answered = 0  # steps of an answer
        if trying == "flow_sde":
            try:
                flow_sde.check_steps(self._steps)
            except ValueError as error:
                raise KinemaError(f"{folder}: {error}") from None

    @property
    def _steps(self) -> int:
        return self.sample_steps or self.artifact.policy.config.sample_steps

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._decided = []
        self._answered = 0

    def taken(self, steps: int, replan_steps: int) -> Decisions:
        """The decisions of an episode of so many steps, in which so many steps of a chunk were played.

        Raises KinemaError where other chunks were decided than that takes.
        """
        each = self.played_of_a_chunk(replan_steps)
        if len(self._decided) != -(-steps // each) or not steps:
            raise KinemaError(f"{len(self._decided)} chunks were decided in an episode of {steps} steps")
        decisions = together(self._decided)
        left = steps - each * torch.arange(len(decisions))
        due = torch.arange(decisions.chunk.shape[1]) < left.clamp_max(each)[:, None]
        return replace(decisions, played=decisions.played & due[..., None])

    def played_of_a_chunk(self, replan_steps: int) -> int:
        """Steps, when so many are to be played: an answer may be shorter."""
        return min(replan_steps, self._answered or replan_steps)

    def propose(self, questions: Sequence[Question], count: int = 1) -> list[list[ActionChunk]]:
        """As `LocalPolicy.propose` for one question and one chunk. Raises KinemaError for more."""
        if len(questions) != 1 or count != 1:
            raise KinemaError("an explorer answers one question with one chunk")
        (question,) = questions
        row = self.check(question)
        policy = self.artifact.policy
        inputs = sample.inputs([row], self.artifact.tokenizer)
        seen = see(policy, inputs)
        noise = self._noise(question.noise_seed, 1)
        slots = inputs.slot_mask[:, None]
        with torch.inference_mode():
            read = prefilled(policy, seen)

            def predict_data(y: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
                return policy.predict(read, y[:, None], tau[:, None])[:, 0].float()

            before, after, index = torch.zeros_like(noise), torch.zeros_like(noise), -1
            if self.trying == "flow_sde":
                generator = torch.Generator().manual_seed(question.noise_seed ^ 0x5DE)
                chunk, step = flow_sde.sample(predict_data, noise, self._steps, self.level, generator)
                before, after, index = step.before, step.after, step.index
            else:
                chunk = flow.sample(predict_data, noise, self._steps)
        chunk = chunk * slots
        self._decided.append(
            Decisions(
                seen=seen, chunk=chunk.clone(), played=slots.expand_as(chunk).clone(), before=before.clone(),
                after=after.clone(), index=torch.tensor([index]),
            )
        )  # fmt: skip
        answer = self._chunk(question, row, chunk[0].numpy())
        self._answered = len(answer.values)
        return [[answer]]
