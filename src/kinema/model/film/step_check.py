"""Is a step done? A small network over what the film detector finds of the step's things in every view.

It sees pictures, the body's state and the names of two things, never a simulator, and it learns from looks at
long tasks that went well and badly. The detector beneath it is frozen.

Axes: P questions, V views, K things of the detector, S state channels, F features of one question.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kinema.model.film.eyes import FilmEyes
from kinema.schema import KinemaError

KINDS = ("bowl", "plate", "box", "block", "button")  # of where it goes, or what is pressed
_PRESSED = "pressed button"
_GRIPPER = "gripper"
_NEAR = 4.0  # things that touch are a few hundredths of a picture apart


@dataclass(frozen=True, kw_only=True)
class StepCheckConfig:
    """features: F; width: of the hidden layers."""

    features: int
    width: int = 128

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class StepCheckNet(nn.Module):
    """Features (P, F), normalised by what training saw, to logits (P,)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: StepCheckConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))
        self.layers = nn.Sequential(
            nn.Linear(config.features, config.width), nn.GELU(), nn.Dropout(0.1),
            nn.Linear(config.width, config.width), nn.GELU(), nn.Linear(config.width, 1),
        )  # fmt: skip

    def normalise_by(self, features: Tensor) -> None:
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0).clamp_min(0.05))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(((features - self.mean) / self.scale).clamp(-6, 6)).squeeze(-1)


def features_of(eyes: FilmEyes, points: np.ndarray, state: np.ndarray, thing: str, place: str) -> np.ndarray:
    """float32 (F,) of the question whether `thing` is at `place`, or pressed where that is empty.

    points: (V, K, 3) as `FilmEyes.locate` finds them. Raises KinemaError for what it has no word for.
    """
    where = {name: i for i, name in enumerate(eyes.things)}
    pressed = f"{thing.partition(' ')[0]} {_PRESSED}"
    named = [thing, place or pressed, _GRIPPER]
    if unknown := [name for name in named if name not in where]:
        raise KinemaError(f"the success check knows no {unknown[0]!r}; it knows {', '.join(eyes.things)}")
    a, b, hand = (points[:, where[name]] for name in named)  # (V, 3) each
    apart = [a[:, :2] - b[:, :2], a[:, :2] - hand[:, :2], b[:, :2] - hand[:, :2]]
    looks_pressed = points[:, where[pressed], 2] if pressed in where else np.zeros(len(points))
    kind = (place or thing).split()[-1]
    words = [float(kind == one) for one in KINDS]
    parts = [a, b, hand, looks_pressed, *(_NEAR * one for one in apart), np.linalg.norm(apart[0], axis=-1)]
    parts += [state, np.array(words)]
    return np.concatenate([np.asarray(part, np.float32).ravel() for part in parts])
