"""The stage that teaches the world model, in phases: which tasks, which views, for how many steps.

Latents and what was understood of the first pictures are computed once and kept in memory, so that training
touches only the transformer and the connector.

Axes: M clips, C latent channels, T latent frames, h x w latents of one view, V views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from kinema.data.mixture import MixtureState
from kinema.model.world.artifact import side_by_side_latents
from kinema.model.world.model import Scene, WorldModel
from kinema.model.world.understanding import Understood
from kinema.schema import KinemaError

Task = Literal["image", "video", "image_to_video"]
Views = Literal["first", "last", "all"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of the curriculum. Shares of tasks, views and bodies add up to 1; the last phase has no end.

    bodies: by card, how much of every batch is theirs, whatever their number of clips; empty: all clips alike
    """

    name: str
    steps: int
    tasks: Mapping[Task, float]
    views: Mapping[Views, float]
    bodies: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, shares, known in (
            ("tasks", self.tasks, get_args(Task)),
            ("views", self.views, get_args(Views)),
        ):
            if set(shares) - set(known):
                raise ValueError(
                    f"phase {self.name!r}: unknown {what} {set(shares) - set(known)}; choices {known}"
                )
        for what, given in (("tasks", self.tasks), ("views", self.views), ("bodies", self.bodies)):
            if given and abs(sum(given.values()) - 1) > 1e-6:
                raise ValueError(f"phase {self.name!r}: shares of {what} add up to {sum(given.values())}")


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Clips as the world model learns from them, in half precision.

    films (M, V, C, T, h, w); still (M, V, C, h, w): a later latent of the first picture held; card (M,)
    """

    films: Tensor
    still: Tensor
    understood: Understood
    card: np.ndarray

    def __len__(self) -> int:
        return len(self.films)


@dataclass(frozen=True, kw_only=True)
class WorldBatch:
    """A scene and the latents (B, C, T, h, w) that belong to it."""

    scene: Scene
    wanted: Tensor

    def __len__(self) -> int:
        return len(self.wanted)

    def to(self, device: torch.device) -> WorldBatch:
        scene = Scene(
            given=tuple(segment.to(device) for segment in self.scene.given),
            still=self.scene.still.to(device),
            understood=self.scene.understood.to(device),
        )
        return WorldBatch(scene=scene, wanted=self.wanted.to(device))


class LatentStream:
    """An endless stream of batches of one task and one choice of views each; its state is two numbers."""

    def __init__(
        self, latents: Latents, phases: Sequence[Phase], *, batch_size: int, seed: int,
        stream: int = 0, streams: int = 1,
    ) -> None:  # fmt: skip
        """stream: which of `streams` processes draws; all draw the same task and views, each other clips.

        Raises KinemaError where a phase wants a body that has no clips.
        """
        if not len(latents) or not phases:
            raise KinemaError("a world model needs clips and at least one phase")
        self.latents, self.phases, self.batch_size = latents, phases, batch_size
        self.state, self.stream, self.streams = MixtureState(seed=seed, drawn=0), stream, streams
        self._drawn: list[int] = []
        self._shares = {phase.name: _shares(phase, latents.card) for phase in phases}

    def phase(self) -> Phase:
        """The phase of the next batch."""
        left = self.state.drawn
        for phase in self.phases[:-1]:
            if left < phase.steps:
                return phase
            left -= phase.steps
        return self.phases[-1]

    def draw(self) -> WorldBatch:
        phase, state = self.phase(), self.state
        rng = np.random.default_rng([state.seed, state.drawn])
        self.state = replace(state, drawn=state.drawn + 1)
        task = rng.choice(list(phase.tasks), p=list(phase.tasks.values()))
        views = rng.choice(list(phase.views), p=list(phase.views.values()))
        chosen = rng.choice(len(self.latents), self.batch_size * self.streams, p=self._shares[phase.name])
        rows = torch.from_numpy(chosen[self.stream :: self.streams].copy())
        self._drawn = rows.tolist()
        return batch_of(self.latents, rows, task, views)

    def origin(self) -> list[str]:
        """Which clip each row of the batch drawn last is."""
        return [f"{self.latents.card[row]}, clip {row} of the latents" for row in self._drawn]


def _shares(phase: Phase, card: np.ndarray) -> np.ndarray:
    """How likely each clip (M,) is drawn."""
    names, counts = np.unique(card, return_counts=True)
    if missing := sorted(set(phase.bodies) - set(names)):
        raise KinemaError(
            f"phase {phase.name!r} wants clips of {', '.join(missing)}; there are some of {', '.join(names)}"
        )
    each = {name: phase.bodies.get(name, 0.0) / count for name, count in zip(names, counts)}
    return np.array([each[name] if phase.bodies else 1 / len(card) for name in card])


def batch_of(latents: Latents, rows: Tensor, task: Task, views: Views) -> WorldBatch:
    """The clips with these numbers, as this task sees them."""
    V = latents.films.shape[1]
    chosen = {"first": (0, 1), "last": (V - 1, V), "all": (0, V)}[views]
    films = side_by_side_latents(latents.films[rows, slice(*chosen)].float())
    understood = latents.understood.rows(rows).views(*chosen)
    if task == "image_to_video":
        rest = films.shape[2] - 1
        still = side_by_side_latents(latents.still[rows, slice(*chosen)].float()[:, :, :, None])
        scene = Scene(given=(films[:, :, :1],), still=still.repeat(1, 1, rest, 1, 1), understood=understood)
        return WorldBatch(scene=scene, wanted=films[:, :, 1:])
    wanted = films[:, :, :1] if task == "image" else films
    # without a first picture nothing may be told of it but what the words say
    scene = Scene(given=(), still=torch.zeros_like(wanted), understood=understood.unseen())
    return WorldBatch(scene=scene, wanted=wanted)


class Imagining:
    """Objective and loss weights of the stage."""

    def __init__(self, model: WorldModel) -> None:
        self.model, self.weights = model, {"flow": 1.0}

    def __call__(self, batch: WorldBatch, generator: torch.Generator) -> dict[str, Tensor]:
        batch = batch.to(next(self.model.parameters()).device)
        return {"flow": self.model.loss(batch.scene, batch.wanted, generator)}
