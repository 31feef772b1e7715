"""Picture augmentation: a random shift and colour jitter of every view. Points move with the picture.

Axes: B batch, V views, S image side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kinema.data.batch import Batch


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    shift_px: int = 4
    brightness: float = 0.15  # added, as a fraction of full scale
    contrast: float = 0.2
    hue: float = 0.08  # independent gain of each colour channel

    def __post_init__(self) -> None:
        if self.shift_px < 0 or min(self.brightness, self.contrast, self.hue) < 0:
            raise ValueError(f"augmentation amounts must not be negative: {self}")


def augment(batch: Batch, config: AugmentConfig, generator: torch.Generator) -> Batch:
    """A batch with its images shifted and recoloured, and its points shifted alike."""
    images, inputs = batch.inputs.images, batch.inputs
    side = images.shape[-1]
    limit = config.shift_px
    shift = torch.randint(-limit, limit + 1, (len(batch), images.shape[1], 2), generator=generator)
    moved = _jitter(_shift(images, shift), config, generator)
    uv = batch.points - (shift.float() / side)[:, :, None]
    inside = ((uv >= 0) & (uv < 1)).all(-1)
    return replace(
        batch,
        inputs=replace(inputs, images=moved),
        points=uv,
        point_visible=batch.point_visible & inside,
    )


def _shift(images: Tensor, shift: Tensor) -> Tensor:
    """uint8 (B, V, 3, S, S) read at u + shift, edges repeated. shift int (B, V, 2) is (columns, rows)."""
    side, limit = images.shape[-1], int(shift.abs().max())
    padded = np.pad(images.numpy(), [(0, 0)] * 3 + [(limit, limit)] * 2, mode="edge")
    moved = np.empty(images.shape, np.uint8)
    # slices of a padded picture: several times faster than gathering single pixels
    for b, v in np.ndindex(images.shape[:2]):
        column, row = (shift[b, v] + limit).tolist()
        moved[b, v] = padded[b, v, :, row : row + side, column : column + side]
    return torch.from_numpy(moved)


def _jitter(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """One affine map per picture and channel, in a look-up table of 256 values: no floating-point picture."""
    shape = images.shape[:3]  # (B, V, 3)

    def uniform(amount: float, channels: int) -> Tensor:
        return (torch.rand(*shape[:2], channels, generator=generator) * 2 - 1) * amount

    gain = (1 + uniform(config.contrast, 1)) * (1 + uniform(config.hue, 3))
    offset = uniform(config.brightness, 1) * 255
    value = torch.arange(256, dtype=torch.float32)
    table = (
        (gain[..., None] * (value - 127.5) + 127.5 + offset[..., None]).clamp(0, 255).round().to(torch.uint8)
    )
    flat = images.reshape(-1, images.shape[-2] * images.shape[-1]).long()
    return torch.gather(table.view(-1, 256), 1, flat).view(images.shape)
