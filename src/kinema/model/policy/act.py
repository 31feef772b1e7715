"""A trained policy behind the `Policy` protocol: observation in, native chunk out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.card.card import EmbodimentCard
from kinema.card.prompt import asked_steps
from kinema.data import sample
from kinema.data.sample import Row
from kinema.digest import file_digests, weights_digest
from kinema.model.policy import artifact, compiled, made_up
from kinema.model.policy.flow import Known
from kinema.model.policy.loading import PLAIN, Loading
from kinema.schema import ActionChunk, Observation, Question, noise_seed
from kinema.space.foreseen import Foreseen
from kinema.space.layout import NUM_SLOTS

_ROUNDING_S = 1e-6


class LocalPolicy:
    """Answers observations with an artifact's weights, in this process.

    loading: how the weights are held and computed, or its fields (as a `Factory` carries them).
    threads: CPU threads for this process (1 is fastest at this size when several processes share a machine).
    steady: draw the first chunk of every answer from zero noise, the middle of the distribution, so that one
        answer carries on where the last one was going.

    `provenance` names the weights by their SHA-256 and says how they were made.
    """

    def __init__(
        self,
        folder: Path,
        *,
        loading: Loading | Mapping[str, Any] = PLAIN,
        sample_steps: int | None = None,
        threads: int | None = 1,
        steady: bool = False,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.loading = loading if isinstance(loading, Loading) else Loading(**loading)
        self.artifact = artifact.load(Path(folder), self.loading)
        self.provenance = {
            "policy": Path(folder).name,
            "sha256": weights_digest(file_digests(Path(folder))),
            "artifact": dict(self.artifact.provenance),
        }
        self._device, self.sample_steps, self.steady = self.loading.device, sample_steps, steady
        self.reset(0)
        self._settled: Callable[[], AbstractContextManager[None]] = nullcontext
        if self.loading.compile:
            self._warm_up()
            self._settled = compiled.settled

    def reset(self, seed: int) -> None:
        """Begin an episode: the sampling noise depends on this seed alone."""
        self._seed, self._asked = seed, 0

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        """One chunk for the body `card_name`. Raises KinemaError on an unknown body or a bad observation."""
        seed = noise_seed(self._seed, self._asked)
        self._asked += 1
        question = Question(observation=observation, card=card_name, noise_seed=seed, committed=committed)
        return self.propose([question])[0][0]

    def answer(self, questions: Sequence[Question]) -> list[ActionChunk]:
        """One chunk for each question, drawn together in one batch. Raises as `propose`."""
        return [chunks[0] for chunks in self.propose(questions)]

    def propose(self, questions: Sequence[Question], count: int = 1) -> list[list[ActionChunk]]:
        """`count` chunks for each question, drawn together in one batch; the bodies may differ.

        Raises KinemaError on an unknown body or a bad observation; `check` finds which one it is.
        """
        rows = [self._foresee(question, self.check(question)) for question in questions]
        policy, tokenizer = self.artifact.policy, self.artifact.tokenizer
        inputs = sample.inputs(rows, tokenizer).to(self._device)
        noise = torch.stack([self._noise(question.noise_seed, count) for question in questions])
        known = None if self._foresees else self._known(questions, rows)
        with self._settled():
            unified = policy.sample(inputs, noise.to(self._device), self.sample_steps, known).cpu().numpy()
        return [
            [self._chunk(question, row, one) for one in of_question]
            for question, row, of_question in zip(questions, rows, unified)
        ]

    def check(self, question: Question) -> Row:
        """The question as the network will read it. Raises KinemaError naming what is wrong with it."""
        codec = self.artifact.codec(question.card)
        config = self.artifact.policy.config
        return sample.observed_row(
            question.observation,
            codec,
            self.artifact.tokenizer,
            image_size=config.source_size,
            horizon=config.decoder.horizon,
        )

    def _warm_up(self) -> None:
        """Compile, and answer what may come: bodies with one camera or more, questions and draws likewise."""
        compiled.compile_blocks(self.artifact.policy)
        cards = {len(codec.card.cameras) > 1: codec.card for codec in self.artifact.codecs.values()}
        side = self.artifact.policy.config.source_size
        with compiled.warming_up():
            for card in cards.values():
                question = Question(
                    observation=made_up.observation(card, side), card=card.name, noise_seed=0, committed=None
                )
                for rows, draws in product(compiled.SEVERAL, compiled.SEVERAL):
                    self.propose([question] * rows, draws)

    def _noise(self, seed: int, count: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        horizon = self.artifact.policy.config.decoder.horizon
        noise = torch.randn(count, horizon, NUM_SLOTS, generator=generator)
        if self.steady:
            noise[0] = 0.0
        return noise

    def _asked_steps(self, card: EmbodimentCard) -> int:
        return asked_steps(card, self.artifact.policy.config.decoder.horizon)

    @property
    def _foresees(self) -> bool:
        """Whether the weights know pictures older than the pose; else committed steps are painted in."""
        return self.artifact.policy.config.late_steps > 0

    def _foresee(self, question: Question, row: Row) -> Row:
        """The row as it will be when the committed actions have been carried out."""
        ahead = self._ahead(question)
        if not self._foresees or ahead is None:
            return row
        foreseen = Foreseen(row.codec.card).after(row.state, ahead.values[-1])
        return replace(row, state=foreseen, pictured=row.state)

    def _ahead(self, question: Question) -> ActionChunk | None:
        """The committed actions that are due within the chunk; None where there are none."""
        committed = question.committed
        if committed is None:
            return None
        due_s = committed.times_s - question.observation.time_s
        card = self.artifact.codec(question.card).card
        inside = (due_s > _ROUNDING_S) & (due_s * card.control_hz < self._asked_steps(card))
        if not inside.any():
            return None
        return replace(committed, values=committed.values[inside], times_s=committed.times_s[inside])

    def _known(self, questions: Sequence[Question], rows: Sequence[Row]) -> Known | None:
        """The committed actions in unified slots, each at the step of the chunk at which it is due."""
        horizon = self.artifact.policy.config.decoder.horizon
        values = torch.zeros(len(rows), horizon, NUM_SLOTS)
        mask = torch.zeros(len(rows), horizon, NUM_SLOTS, dtype=torch.bool)
        for i, (question, row) in enumerate(zip(questions, rows)):
            if question.committed is None:
                continue
            due = (question.committed.times_s - question.observation.time_s) * row.codec.card.control_hz
            steps = np.rint(due).astype(int) - 1
            inside = (steps >= 0) & (steps < horizon)
            unified = row.codec.encode(question.committed.values[inside], row.state.astype(np.float64))
            values[i, steps[inside]] = torch.from_numpy(unified)
            mask[i, steps[inside]] = torch.from_numpy(row.codec.mask)
        if not mask.any():
            return None
        return Known(values=values.to(self._device), mask=mask.to(self._device))

    def _chunk(self, question: Question, row: Row, unified: np.ndarray) -> ActionChunk:
        codec = row.codec
        unified = unified[: self._asked_steps(codec.card)]
        values = codec.decode(unified, row.state.astype(np.float64))
        steps_s = (1 + np.arange(len(values))) / codec.card.control_hz
        ahead = self._ahead(question) if self._foresees else None
        if ahead is None:
            times_s = question.observation.time_s + steps_s
            return ActionChunk(values=values, times_s=times_s, card=question.card)
        # the answer begins with what is committed, and goes on from there
        times_s = np.concatenate([ahead.times_s, ahead.times_s[-1] + steps_s])[: len(values)]
        values = np.concatenate([ahead.values, values])[: len(values)]
        return ActionChunk(values=values, times_s=times_s, card=question.card)
