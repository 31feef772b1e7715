"""Two losses that pull equally hard at the weights they share.

The second one's weight is the ratio of the norms of their gradients there, each smoothed, measured every so
many batches. (Qwen-VLA, arXiv 2605.30280, says that the weights of its losses make the norms alike, not how
they were found.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EVERY = 25  # batches
_NEW = 0.1  # how much a new measurement counts


class Balance(nn.Module):
    """The smoothed norms (2,) of the gradients of two losses; a buffer, so a run that goes on knows them."""

    norms: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("norms", torch.zeros(2))  # zero: not measured yet

    @torch.no_grad()
    def measure(self, losses: Sequence[Tensor], shared: Sequence[nn.Parameter]) -> None:
        """Take in the norms for these two losses, whose graphs stay as they are."""
        found = torch.stack([gradient_norm(loss, shared) for loss in losses]).to(self.norms)
        known = self.norms > 0
        self.norms.copy_(torch.where(known, torch.lerp(self.norms, found, _NEW), found))

    @property
    def weight(self) -> Tensor:
        """Of the second loss, so that it pulls as hard as the first; 1 before anything was measured."""
        first, second = self.norms
        return torch.where(
            (first > 0) & (second > 0), first / second.clamp_min(1e-12), torch.ones_like(first)
        )


def gradient_norm(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """The norm of a loss's gradient with respect to these parameters together."""
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return torch.stack([g.float().norm() for g in gradients if g is not None]).norm()
