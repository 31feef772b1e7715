"""Is a step done? A small network over what the film detector finds of the step's things in every view.

It sees pictures, the body's state and the names of two things, never a simulator, and it learns from looks at
long tasks that went well and badly. The detector beneath it is frozen.

Axes: P questions, V views, S state channels, F features of one question, C width of the detector's maps.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kinema.model.film.eyes import FilmEyes
from kinema.schema import KinemaError

_KINDS = (
    "bowl",
    "plate",
    "box",
    "block",
    "button",
)  # of where it goes, or what is pressed
_PRESSED = "pressed button"
_GRIPPER = "gripper"
_COLORS = ("red", "yellow", "green", "blue", "purple")
_MAPS = (1, 2)  # of the detector's maps: at 1/4 and 1/8 of the picture


@dataclass(frozen=True, kw_only=True)
class StepCheckConfig:
    """features: F; width: of the hidden layers."""

    features: int
    width: int = 96

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
            nn.Linear(config.features, config.width), nn.GELU(), nn.Dropout(0.2),
            nn.Linear(config.width, config.width), nn.GELU(), nn.Linear(config.width, 1),
        )  # fmt: skip

    def normalise_by(self, features: Tensor) -> None:
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0).clamp_min(0.05))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(((features - self.mean) / self.scale).clamp(-6, 6)).squeeze(-1)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One look as the detector sees it: points (V, K, 3), and its maps, (V, h, w, C) each; state (S,)."""

    points: np.ndarray
    maps: tuple[np.ndarray, ...]
    state: np.ndarray


def seen_by(eyes: FilmEyes, images: np.ndarray, state: np.ndarray) -> Seen:
    """images: uint8 (V, H, H, 3)."""
    maps = eyes.features(images)
    return Seen(points=eyes.locate(images), maps=tuple(maps[i] for i in _MAPS), state=state)


def features_of(eyes: FilmEyes, seen: Seen, thing: str, place: str) -> np.ndarray:
    """float32 (F,) of the question whether `thing` is at `place`, or pressed where that is empty.

    Raises KinemaError for what the detector has no word for.
    """
    where = {name: i for i, name in enumerate(eyes.things)}
    pressed = f"{thing.split()[0]} {_PRESSED}" if not place else thing
    named = [thing, place or pressed, pressed, _GRIPPER]
    if unknown := [name for name in named if name not in where]:
        raise KinemaError(f"the success check knows no {unknown[0]!r}; it knows {', '.join(eyes.things)}")
    points = seen.points[:, [where[name] for name in named]]  # (V, 4, 3)
    apart = points[:, [0, 0, 1], :2] - points[:, [1, 3, 3], :2]
    around = [_at(layer, points[:, i, :2]) for layer in seen.maps for i in (0, 1)]
    kind = (place or thing).split()[-1]
    words = [float(kind == one) for one in _KINDS]
    colors = [name.split()[0] for name in (thing, place)]
    words += [float(color == one) for color in colors for one in _COLORS]
    parts = [points, 4.0 * apart, *around, seen.state, np.array(words)]
    return np.concatenate([np.asarray(part, np.float32).ravel() for part in parts])


def _at(layer: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """The map's values (V, C) in the cells of points (V, 2)."""
    side = layer.shape[1]
    cells = np.clip((uv * side).astype(int), 0, side - 1)
    return layer[np.arange(len(layer)), cells[:, 1], cells[:, 0]]
