"""The stage that teaches Scene2Robot: pairs of a scene and a robot alone, and the robot in that scene.

As in the world model's stage all latents are computed once and kept in memory. Objective and loss are the
world model's own (`stages/world.py`): what is given has none.

Axes: M clips, C latent channels, T latent frames, h x w latents of the canvas, V views.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kinema.data.mixture import MixtureState
from kinema.model.world.scene2robot import segments
from kinema.schema import KinemaError
from kinema.train.stages.world import WorldBatch


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Clips in half precision: scene, alone, robot (M, C, 1 + T, h, V * w) and card (M,).

    The first latent of each is of the picture that its code is read beside (`model/world/scene2robot.py`).
    """

    scene: Tensor
    alone: Tensor
    robot: Tensor
    card: np.ndarray
    views: int

    def __post_init__(self) -> None:
        if not self.scene.shape == self.alone.shape == self.robot.shape or len(self.card) != len(self.scene):
            raise KinemaError(
                f"pairs need latents of one shape; got scene {tuple(self.scene.shape)}, alone "
                f"{tuple(self.alone.shape)}, robot {tuple(self.robot.shape)}, {len(self.card)} bodies"
            )

    def __len__(self) -> int:
        return len(self.scene)


class PairStream:
    """An endless stream of batches of pairs; its state is two numbers."""

    def __init__(
        self, pairs: Pairs, *, batch_size: int, seed: int, stream: int = 0, streams: int = 1
    ) -> None:
        """stream: which of `streams` processes draws; each draws other clips."""
        self.pairs, self.batch_size, self.stream, self.streams = pairs, batch_size, stream, streams
        self.state = MixtureState(seed=seed, drawn=0)
        self._drawn: list[int] = []

    def draw(self) -> WorldBatch:
        rng = np.random.default_rng([self.state.seed, self.state.drawn])
        self.state = replace(self.state, drawn=self.state.drawn + 1)
        chosen = rng.integers(0, len(self.pairs), self.batch_size * self.streams)
        rows = torch.from_numpy(chosen[self.stream :: self.streams].copy())
        self._drawn = rows.tolist()
        return pair_batch(self.pairs, rows)

    def origin(self) -> list[str]:
        """Which pair each row of the batch drawn last is."""
        return [f"{self.pairs.card[row]}, pair {row}" for row in self._drawn]


def pair_batch(pairs: Pairs, rows: Tensor) -> WorldBatch:
    """The clips with these numbers: what is shown, and what is to be made."""
    scene, alone, robot = (part[rows].float() for part in (pairs.scene, pairs.alone, pairs.robot))
    return WorldBatch(scene=segments(scene, alone, pairs.views), wanted=robot[:, :, 1:])
