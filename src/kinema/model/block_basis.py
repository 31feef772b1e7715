"""A linear code of pictures in blocks: principal components, found in closed form.

It is the shortcut around the video autoencoder (as deep compression autoencoders have one, arXiv 2410.10733):
latents are a block's coefficients, and the network only mends what comes back. On two slow cores that is the
difference between a code after one minute and no usable code after half an hour.

Axes: B batch, F frames, S side, C coefficients, T = 1 + (F - 1) / 4, h = S / 16.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

BLOCK_PX, BLOCK_FRAMES = 16, 4
_MOVED = 0.1  # of a pixel's range [-1, 1]
_STILL_SHARE = 0.02  # how often a block in which nothing moves is looked at, against one that moves all over


class BlockBasis(ModelMixin, ConfigMixin):
    """Orthonormal bases of single pictures (the first) and of four pictures on end (all later ones)."""

    @register_to_config
    def __init__(self, channels: int) -> None:
        super().__init__()
        one = 3 * BLOCK_PX**2
        for name, size in (("first", one), ("later", one * BLOCK_FRAMES)):
            self.register_parameter(f"{name}_mean", nn.Parameter(torch.zeros(size), requires_grad=False))
            self.register_parameter(name, nn.Parameter(torch.eye(size)[:channels], requires_grad=False))

    @torch.no_grad()
    def fit(self, clips: Iterable[Tensor], generator: torch.Generator | None = None) -> None:
        """From clips in [-1, 1] (B, 3, F, S, S). Blocks that move are looked at more often."""
        for name, mean, basis in (
            ("first", self.first_mean, self.first),
            ("later", self.later_mean, self.later),
        ):
            total, outer, count = torch.zeros_like(mean), mean.new_zeros(len(mean), len(mean)), 0
            for clip in clips:
                seen = blocks(clip[:, :, :1], 1) if name == "first" else blocks(clip[:, :, 1:], BLOCK_FRAMES)
                seen = seen.flatten(0, 3)
                if name == "later":
                    frames = seen.view(len(seen), 3, BLOCK_FRAMES, -1)
                    moved = ((frames - frames[:, :, :1]).abs().amax((1, 2)) > _MOVED).float().mean(1)
                    chance = (_STILL_SHARE + moved).clamp_max(1)
                    seen = seen[torch.rand(len(seen), generator=generator) < chance]
                total, outer, count = total + seen.sum(0), outer + seen.T @ seen, count + len(seen)
            mean.copy_(total / count)
            spread = outer / count - mean[:, None] * mean
            _, vectors = torch.linalg.eigh(spread)
            basis.copy_(vectors.flip(1)[:, : len(basis)].T)

    def encode(self, pictures: Tensor) -> Tensor:
        """[-1, 1] (B, 3, F, S, S) to coefficients (B, C, T, h, h)."""
        parts = [(blocks(pictures[:, :, :1], 1) - self.first_mean) @ self.first.T]
        if pictures.shape[2] > 1:
            parts.append((blocks(pictures[:, :, 1:], BLOCK_FRAMES) - self.later_mean) @ self.later.T)
        return torch.cat(parts, 1).permute(0, 4, 1, 2, 3)

    def decode(self, latents: Tensor) -> Tensor:
        """What undoes `encode`, as far as the coefficients say."""
        cells = latents.permute(0, 2, 3, 4, 1)  # (B, T, h, h, C)
        parts = [pictures_of(cells[:, :1] @ self.first + self.first_mean, 1)]
        if cells.shape[1] > 1:
            parts.append(pictures_of(cells[:, 1:] @ self.later + self.later_mean, BLOCK_FRAMES))
        return torch.cat(parts, 2)


def blocks(pictures: Tensor, frames: int) -> Tensor:
    """(B, 3, F, S, S) to (B, F / frames, h, h, 3 * frames * 16 * 16)."""
    B, c, F, H, W = pictures.shape
    x = pictures.reshape(B, c, F // frames, frames, H // BLOCK_PX, BLOCK_PX, W // BLOCK_PX, BLOCK_PX)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


def pictures_of(cells: Tensor, frames: int) -> Tensor:
    """What undoes `blocks`."""
    B, T, rows, columns, _ = cells.shape
    x = cells.view(B, T, rows, columns, 3, frames, BLOCK_PX, BLOCK_PX).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return x.reshape(B, 3, T * frames, rows * BLOCK_PX, columns * BLOCK_PX)
