"""Picture augmentation: a random shift and colour jitter of every view. Points move with the picture.

Axes: B batch, V views, S image side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kinema.data.batch import Batch

_LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    shift_px: int = 4  # of the pictures as the backbone reads them
    brightness: float = 0.2  # added, as a fraction of full scale
    contrast: float = 0.3  # gain about mid grey
    saturation: float = 0.4  # gain about the pixel's own grey
    tint: float = 0.12  # independent gain of each colour channel

    def of_pictures(self, zoom: float) -> AugmentConfig:
        """The same for pictures that are `zoom` times as large as what the backbone reads."""
        return replace(self, shift_px=round(self.shift_px * zoom))

    def __post_init__(self) -> None:
        if min(self.shift_px, self.brightness, self.contrast, self.saturation, self.tint) < 0:
            raise ValueError(f"augmentation amounts must not be negative: {self}")


def augment(batch: Batch, config: AugmentConfig, generator: torch.Generator) -> Batch:
    """A batch with its images shifted and recoloured, and its points shifted alike."""
    images, inputs = batch.inputs.images, batch.inputs
    if not images.shape[1]:
        return batch
    side = images.shape[-1]
    limit = config.shift_px
    shift = torch.randint(-limit, limit + 1, (len(batch), images.shape[1], 2), generator=generator)
    moved = recoloured(_shift(images, shift), config, generator)
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


def recoloured(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """uint8 (B, V, 3, S, S): one affine map of colour per picture, the same for all its pixels."""
    n, pixels = images.shape[0] * images.shape[1], images.shape[-2] * images.shape[-1]

    def uniform(amount: float, channels: int) -> Tensor:
        return (torch.rand(n, channels, generator=generator) * 2 - 1) * amount

    contrast = 1 + uniform(config.contrast, 1)
    saturation = 1 + uniform(config.saturation, 1)[..., None]
    grey = _LUMA.expand(3, 3)  # every channel of a colour's own grey
    mix = saturation * torch.eye(3) + (1 - saturation) * grey
    gain = (contrast * (1 + uniform(config.tint, 3)))[..., None] * mix  # (n, 3, 3)
    offset = 127.5 + uniform(config.brightness, 1) * 255
    flat = images.reshape(n, 3, pixels).float() - 127.5
    moved = torch.baddbmm(offset[..., None].expand(n, 3, 1), gain, flat)
    return moved.round_().clamp_(0, 255).to(torch.uint8).view(images.shape)
