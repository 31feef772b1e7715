"""A trained policy behind the `Policy` protocol: observation in, native chunk out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from kinema.data import sample
from kinema.model import artifact
from kinema.schema import ActionChunk, Observation
from kinema.space.layout import NUM_SLOTS


class LocalPolicy:
    """Answers observations with an artifact's weights, in this process.

    threads: CPU threads for this process (1 is fastest at this size when several processes share a machine).
    """

    def __init__(
        self, folder: Path, *, device: str = "cpu", sample_steps: int | None = None, threads: int | None = 1
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.artifact = artifact.load(Path(folder), device=device)
        self._device, self.sample_steps = device, sample_steps
        self._generator = torch.Generator().manual_seed(0)

    def reset(self, seed: int) -> None:
        """Begin an episode: the sampling noise depends on this seed alone."""
        self._generator.manual_seed(seed)

    def infer(self, observation: Observation, card_name: str) -> ActionChunk:
        """One chunk for the body `card_name`. Raises KinemaError on an unknown body or a bad observation."""
        codec = self.artifact.codec(card_name)
        config = self.artifact.policy.config
        row = sample.observed_row(observation, codec, self.artifact.tokenizer, config.image_size)
        inputs = sample.inputs([row], self.artifact.tokenizer).to(self._device)
        noise = torch.randn(1, 1, config.decoder.horizon, NUM_SLOTS, generator=self._generator)
        tags = self.artifact.tags(codec.card).to(self._device)
        unified = self.artifact.policy.sample(inputs, tags, noise.to(self._device), self.sample_steps)
        values = codec.decode(unified[0, 0].cpu().numpy(), row.state.astype(np.float64))
        period_s = 1 / codec.card.control_hz
        times_s = observation.time_s + period_s * (1 + np.arange(len(values)))
        return ActionChunk(values=values, times_s=times_s, card=card_name)
