"""A second look: what the policy pointed at, cut from its pictures at their own resolution.

The first look sees the whole picture, shrunk to `PolicyConfig.image_size`. Around every point a square is
then cut from the same picture as it was given, read by the same vision tower, and handed to the action
decoder as more tokens that know where they lie. They are more and never instead: of a wrong point's crop
nothing else depends, and no gradient flows through the place.

In training the squares lie around the labels, about as far off as a head is that points for itself, and a
few of them anywhere; where nothing is labelled, and when acting, around the policy's own points.

Axes: B batch, V views, P points, S side of a picture, c side of a crop, N tokens of a crop, C width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.model.policy.pointing import waves


@dataclass(frozen=True, kw_only=True)
class SecondLookConfig:
    source_size: int  # pixels of a side of the pictures that the policy is given
    crop_size: int  # pixels of a side of a crop
    noise: float = 0.02  # of a crop's place in training: standard deviation, as a fraction of the side
    astray: float = 0.1  # share of crops that lie anywhere in training

    def __post_init__(self) -> None:
        if not 0 < self.crop_size <= self.source_size:
            raise ValueError(f"crop_size {self.crop_size} must be in 1 ... source_size {self.source_size}")
        if self.noise < 0 or not 0 <= self.astray <= 1:
            raise ValueError(f"noise {self.noise} must not be negative, astray {self.astray} in 0 ... 1")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where to look again: uv (B, V, P, 2) where `known`, bool (B, V, P); else at the policy's own points."""

    uv: Tensor
    known: Tensor

    def or_at(self, uv: Tensor) -> Tensor:
        """uv (B, V, P, 2), with these where they are known."""
        return torch.where(self.known[..., None], self.uv, uv)


def training_places(
    uv: Tensor, labelled: Tensor, config: SecondLookConfig, generator: torch.Generator | None
) -> Places:
    """Around labels uv (B, V, P, 2) that are there, bool (B, V, P), and now and then anywhere."""
    noise = torch.randn(uv.shape, generator=generator).to(uv.device) * config.noise
    anywhere = torch.rand(uv.shape, generator=generator).to(uv.device)
    astray = torch.rand(uv.shape[:-1], generator=generator).to(uv.device) < config.astray
    return Places(uv=torch.where(astray[..., None], anywhere, uv + noise), known=labelled | astray)


def shrink(images: Tensor, size: int) -> Tensor:
    """uint8 (B, V, 3, S, S) to float (B, V, 3, size, size): what `data.picture.resize` gives, not rounded."""
    flat = images.flatten(0, 1).float()
    small = F.interpolate(flat, size=(size, size), mode="bilinear", antialias=True)
    return small.unflatten(0, images.shape[:2])


def corners(uv: Tensor, source_size: int, crop_size: int) -> Tensor:
    """Column and row (..., 2) of the first pixel of the crop around uv; at a border it lies within it."""
    corner = (uv.detach().float() * source_size - crop_size / 2).round().long()
    return corner.clamp(0, source_size - crop_size)


def cut(images: Tensor, corner: Tensor, size: int) -> Tensor:
    """The pixels (B, V, P, 3, c, c) of images (B, V, 3, S, S) from corners (B, V, P, 2) on."""
    B, V, P = corner.shape[:3]
    pixel = torch.arange(size, device=corner.device)
    column, row = corner[..., 0, None] + pixel, corner[..., 1, None] + pixel  # (B, V, P, c)
    place = row[..., :, None] * images.shape[-1] + column[..., None, :]  # (B, V, P, c, c)
    flat = images.flatten(3)[:, :, None].expand(-1, -1, P, -1, -1)
    index = place.flatten(3)[:, :, :, None].expand(-1, -1, -1, 3, -1)
    return flat.gather(4, index).view(B, V, P, 3, size, size)


class SecondLook(nn.Module):
    """What the vision tower made of crops, as decoder tokens (B, V, P * N, C) that know where they lie."""

    def __init__(self, config: SecondLookConfig, seen: int, width: int, points: int, max_views: int) -> None:
        """seen: channels of what the tower makes"""
        super().__init__()
        self.config = config
        self.tokens_in = nn.Sequential(nn.LayerNorm(seen), nn.Linear(seen, width))
        self.place_in = nn.Linear(waves(torch.zeros(2)).shape[-1], width)
        self.which = nn.Parameter(torch.randn(max_views, points, width) * 0.02)

    def forward(self, seen: Tensor, corner: Tensor) -> Tensor:
        """seen (B, V, P, N, channels) of the crops at these corners (B, V, P, 2)."""
        side = round(seen.shape[3] ** 0.5)
        cells = torch.arange(side * side, device=corner.device)
        within = torch.stack([cells % side, cells // side], -1) + 0.5  # (N, 2)
        uv = (corner[:, :, :, None] + within * (self.config.crop_size / side)) / self.config.source_size
        tokens = self.tokens_in(seen)
        which = self.which[: seen.shape[1], :, None].to(tokens.dtype)
        return (tokens + self.place_in(waves(uv).to(tokens.dtype)) + which).flatten(2, 3)
