"""Where is each nameable thing in a picture? A small network that judges films from their frames alone.

It never sees a simulator: it learns from labelled pictures, and what it gets wrong on held-out true films
is measured and stored beside its weights. Its inner maps also serve as the fixed encoder of feature
distances.

Axes: n pictures, S side in pixels, K things, g = S / 4 cells per side, C width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.schema import KinemaError

CELL_PX = 4


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """things: the K words, in the order of the answers. widths: at 1/2, 1/4 and 1/8 of the picture."""

    things: tuple[str, ...]
    image_size: int = 96
    widths: tuple[int, int, int] = (32, 64, 128)

    def __post_init__(self) -> None:
        if self.image_size % 16 or self.image_size < 32:
            raise KinemaError(f"the detector's image_size must be a multiple of 16; got {self.image_size}")
        if not self.things or len(set(self.things)) != len(self.things):
            raise KinemaError("the detector needs things of different names")

    @property
    def cells(self) -> int:
        """g."""
        return self.image_size // CELL_PX

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Located:
    """cell_logits (n, K, g * g + 1), the last one meaning "not here"; offsets (n, K, 2, g * g) in cells."""

    cell_logits: Tensor
    offsets: Tensor

    def points(self) -> Tensor:
        """(n, K, 3): u, v in [0, 1] of the likeliest cell, and the probability that the thing is here."""
        cells = self.cell_logits.shape[-1] - 1
        side = round(cells**0.5)
        best = self.cell_logits[..., :-1].argmax(-1)  # (n, K)
        du, dv = self.offsets.gather(-1, best[..., None, None].expand(-1, -1, 2, 1)).squeeze(-1).unbind(-1)
        u = (best % side + 0.5 + du) / side
        v = (best // side + 0.5 + dv) / side
        here = 1 - self.cell_logits.softmax(-1)[..., -1]
        return torch.stack([u, v, here], -1)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class FilmDetector(nn.Module):
    """An encoder to 1/16 and back to 1/4; per cell and thing a logit and where in the cell the thing is."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter, eighth = config.widths
        self.stem = nn.Conv2d(3, half, 4, stride=2, padding=1)
        self.to_quarter = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.at_quarter = _Residual(quarter)
        self.to_eighth = nn.Conv2d(quarter, eighth, 3, stride=2, padding=1)
        self.at_eighth = _Residual(eighth)
        self.to_sixteenth = nn.Conv2d(eighth, eighth, 3, stride=2, padding=1)
        self.at_sixteenth = _Residual(eighth)
        self.back_to_eighth = nn.Conv2d(eighth, eighth, 1)
        self.back_to_quarter = nn.Conv2d(eighth, quarter, 1)
        self.join = nn.Conv2d(quarter, quarter, 3, padding=1)
        self.out = nn.Conv2d(quarter, 3 * len(config.things), 1)  # per thing: logit, du, dv
        self.absent = nn.Linear(eighth, len(config.things))

    def maps(self, images: Tensor) -> list[Tensor]:
        """uint8 or float (n, 3, S, S) in 0 ... 255 to the encoder's maps at 1/2, 1/4, 1/8 and 1/16."""
        x = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        half = self.stem(x)
        quarter = self.at_quarter(self.to_quarter(F.relu(half)))
        eighth = self.at_eighth(self.to_eighth(F.relu(quarter)))
        sixteenth = self.at_sixteenth(self.to_sixteenth(F.relu(eighth)))
        return [half, quarter, eighth, sixteenth]

    def forward(self, images: Tensor) -> Located:
        _, quarter, eighth, sixteenth = self.maps(images)
        x = eighth + self.back_to_eighth(F.interpolate(F.relu(sixteenth), scale_factor=2.0, mode="nearest"))
        x = quarter + self.back_to_quarter(F.interpolate(F.relu(x), scale_factor=2.0, mode="nearest"))
        cells = self.out(F.relu(self.join(F.relu(x)))).flatten(2).float()  # (n, 3 K, g * g)
        logits, offsets = cells.unflatten(1, (-1, 3)).split([1, 2], 2)
        absent = self.absent(F.relu(sixteenth).mean((-1, -2))).float()
        return Located(cell_logits=torch.cat([logits.squeeze(2), absent[..., None]], -1), offsets=offsets)


def detector_losses(located: Located, points: Tensor, absent_weight: float = 0.2) -> dict[str, Tensor]:
    """Cross-entropy over cells (or "not here") and the distance from the true place in the true cell.

    points (n, K, 3): u, v and 1 seen, 0 not seen; anything between is unknown and teaches nothing.
    """
    cells = located.cell_logits.shape[-1] - 1
    side = round(cells**0.5)
    place = points[..., :2].clamp(0, 1 - 1e-6) * side  # (n, K, 2)
    column, row = place.long().unbind(-1)
    seen, unseen = points[..., 2] == 1, points[..., 2] == 0
    target = torch.where(seen, row * side + column, cells)
    entropy = F.cross_entropy(located.cell_logits.flatten(0, 1), target.flatten(), reduction="none")
    weight = seen.float() + absent_weight * unseen.float()
    there = target.clamp_max(cells - 1)[..., None, None].expand(-1, -1, 2, 1)
    offset = located.offsets.gather(-1, there).squeeze(-1)
    error = (offset - (place - place.long() - 0.5)).abs().sum(-1)
    return {
        "cell": (entropy.view_as(weight) * weight).sum() / weight.sum().clamp_min(1),
        "offset": (error * seen).sum() / seen.sum().clamp_min(1),
    }
