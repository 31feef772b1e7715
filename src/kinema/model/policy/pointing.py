"""Pointing: where in each image are the thing to act on and the place it goes?

A map over image tokens, read out as an expected coordinate. It is trained from points (of simulators, or
of human annotators); data without points train it only through the actions. The predicted points are
handed to the action decoder as tokens, so a coordinate found once need not be found again by attention.

Axes: B batch, V views, N = g * g image tokens, P points, C width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Pointed:
    """uv (B, V, P, 2) in [0, 1]; logits (B, V, P, N + 1), the last one meaning "not in this image"."""

    uv: Tensor
    logits: Tensor

    @property
    def visible(self) -> Tensor:
        """Probability (B, V, P) that the point is in the image."""
        return 1 - self.logits.softmax(-1)[..., -1]


class PointHead(nn.Module):
    """Image tokens (B, V, N, C) to points. Each token also says where inside its cell the point lies."""

    def __init__(self, width: int, points: int, grid: int) -> None:
        super().__init__()
        self.points, self.grid = points, grid
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 3 * points)  # per point: logit, du, dv
        self.absent = nn.Linear(width, points)

    def forward(self, image_tokens: Tensor) -> Pointed:
        x = F.silu(self.hidden(self.norm(image_tokens)))
        logit, du, dv = self.out(x).float().unflatten(-1, (3, self.points)).unbind(-2)  # (B, V, N, P) each
        absent = self.absent(x.mean(2)).float()  # (B, V, P)
        cells = torch.arange(self.grid * self.grid, device=x.device)
        column, row = cells % self.grid, cells // self.grid
        u = (column[:, None] + 0.5 + du) / self.grid
        v = (row[:, None] + 0.5 + dv) / self.grid
        weight = logit.softmax(2)
        uv = torch.stack([(weight * u).sum(2), (weight * v).sum(2)], -1)
        logits = torch.cat([logit.transpose(2, 3), absent[..., None]], -1)
        return Pointed(uv=uv, logits=logits)


FREQUENCIES = 5


def waves(uv: Tensor) -> Tensor:
    """Coordinates (..., 2) in [0, 1] to sinusoids (..., 4 * FREQUENCIES)."""
    angle = torch.pi * 2.0 ** torch.arange(FREQUENCIES, device=uv.device) * uv[..., None]
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(-2)


class PointEmbed(nn.Module):
    """Points to decoder tokens (B, V * P, C)."""

    def __init__(self, width: int, points: int, max_views: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(4 * FREQUENCIES + 3, width), nn.SiLU(), nn.Linear(width, width))
        self.which = nn.Parameter(torch.randn(max_views, points, width) * 0.02)

    def forward(self, pointed: Pointed) -> Tensor:
        uv = pointed.uv
        features = torch.cat([uv, pointed.visible[..., None], waves(uv)], -1)
        tokens = self.mlp(features.to(self.which.dtype))
        return (tokens + self.which[: uv.shape[1]].to(tokens.dtype)).flatten(1, 2)


def point_losses(pointed: Pointed, uv: Tensor, mask: Tensor, visible: Tensor, grid: int) -> dict[str, Tensor]:
    """Cross-entropy over cells and absolute error of the coordinate, over labelled points.

    uv (B, V, P, 2), mask and visible bool (B, V, P). Zero when nothing is labelled.
    """
    cell = (uv.clamp(0, 1 - 1e-6) * grid).long()
    target = torch.where(visible, cell[..., 1] * grid + cell[..., 0], grid * grid)
    entropy = F.cross_entropy(pointed.logits.flatten(0, 2), target.flatten(), reduction="none").view(
        mask.shape
    )
    labelled = mask.float()
    seen = (mask & visible).float()
    error = (pointed.uv - uv).abs().sum(-1)
    return {
        "point_cell": (entropy * labelled).sum() / labelled.sum().clamp_min(1),
        "point_uv": (error * seen).sum() / seen.sum().clamp_min(1),
    }
