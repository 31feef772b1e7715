"""Observations and stored samples to what the latent dynamics reads: one way for training and acting."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import torch

from kinema.card.card import EmbodimentCard
from kinema.card.workspace import table_area
from kinema.data.sample import checked_image, resize
from kinema.model.gate.commanded_path import PathReader
from kinema.model.gate.latent_dynamics import DynamicsConfig, Scenes
from kinema.schema import KinemaError, Observation


class SceneReader:
    """Makes `Scenes` of one card's pictures and states."""

    def __init__(self, card: EmbodimentCard, config: DynamicsConfig) -> None:
        if not 1 <= len(card.cameras) <= config.views:
            raise KinemaError(
                f"{card.name} has {len(card.cameras)} cameras; the gate takes 1 to {config.views}"
            )
        self.card, self.config = card, config
        self.paths = PathReader(card)
        self._area = np.stack(table_area(card)).astype(np.float32)

    def scenes(
        self, images: np.ndarray, earlier: np.ndarray, states: np.ndarray, instructions: Sequence[str]
    ) -> Scenes:
        """images: uint8 (B, V, S, S, 3); earlier: uint8 (B, S, S, 3); states: (B, D)."""
        views = [self.paths.views(state.astype(np.float64)) for state in states]
        pose, focal = np.stack([v.pose for v in views]), np.stack([v.focal for v in views])
        missing = self.config.views - images.shape[1]
        if missing:  # a camera that is not there looks away from the table
            images = np.pad(images, ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0)))
            pose = np.pad(pose, ((0, 0), (0, missing), (0, 0), (0, 0)))
            focal = np.pad(focal, ((0, 0), (0, missing)))
        B = len(states)
        return Scenes(
            images=torch.from_numpy(np.ascontiguousarray(images.transpose(0, 1, 4, 2, 3))),
            earlier=torch.from_numpy(np.ascontiguousarray(earlier.transpose(0, 3, 1, 2))),
            pose=torch.from_numpy(pose),
            focal=torch.from_numpy(focal),
            area=torch.from_numpy(np.repeat(self._area[None], B, 0)),
            start=torch.from_numpy(self.paths.start(states)),
            arm_mask=torch.from_numpy(np.repeat(self.paths.arm_mask[None], B, 0).astype(np.float32)),
            points=torch.from_numpy(np.repeat(self.paths.points[None], B, 0)),
            words=torch.from_numpy(np.stack([words(text, self.config.words) for text in instructions])),
        )

    def observed(self, observation: Observation, earlier: np.ndarray | None = None) -> Scenes:
        """One live observation. earlier: the first camera's picture a moment before, where one is known.

        Raises KinemaError naming what is missing or not finite.
        """
        card, size = self.card, self.config.image_size
        images = np.stack(
            [resize(checked_image(observation.images, name, card), size) for name in card.camera_names]
        )
        state = np.asarray(observation.state, np.float64)
        if state.shape != (len(card.states),) or not np.isfinite(state).all():
            raise KinemaError(f"{card.name} state must be {len(card.states)} finite numbers, got {state}")
        before = images[:1] if earlier is None else resize(earlier, size)[None]
        return self.scenes(images[None], before, state[None], [observation.instruction])


def words(text: str, count: int) -> np.ndarray:
    """An instruction as a bag of hashed words, float32 (count,)."""
    bag = np.zeros(count, np.float32)
    for word in text.lower().replace(".", " ").replace(",", " ").split():
        bag[crc32(word.encode()) % count] = 1.0
    return bag
