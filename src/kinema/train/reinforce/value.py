"""How well an episode stands, read from what the policy sees, and what a chunk was worth by it.

Axes: n decisions, C decoder width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.train.reinforce.rollout import Chunks


class ValueHead(nn.Module):
    """The mean of an observation's tokens (n, C) to a number (n,). No gradient goes back into the policy."""

    def __init__(self, width: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, 1),
        )  # fmt: skip

    def forward(self, pooled: Tensor) -> Tensor:
        return self.layers(pooled.detach()).squeeze(-1)


def fit(
    value: ValueHead, optimizer: torch.optim.Optimizer, pooled: Tensor, target: Tensor, *, steps: int,
    generator: torch.Generator, rows: int = 512,
) -> float:  # fmt: skip
    """Regress on targets (n,), Huber's loss; the mean of its last tenth."""
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(target), (min(rows, len(target)),), generator=generator)
        loss = F.smooth_l1_loss(value(pooled[chosen]), target[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses[-max(1, steps // 10) :]).mean())


def time_left(chunks: Chunks) -> Tensor:
    """Half the fraction of time still needed, negative, and half of all of it more where it failed: (n,).

    From -1 to 0. Sooner is better, and any success is better than any failure (RECAP: Physical Intelligence
    2025, arXiv 2511.14759).
    """
    return -(chunks.to_go + chunks.step) / 2 - 0.5 * ~chunks.won


def time_saved(chunks: Chunks, value: Tensor) -> Tensor:
    """Advantages (n,) under `time_left`: what the chunk cost, and how much better things stand after it."""
    at_the_end = -0.5 * (~chunks.won).to(value.dtype)
    after = torch.where(chunks.last, at_the_end, value.roll(-1))
    return -chunks.step / 2 + after - value


def gae(chunks: Chunks, value: Tensor, discount: float = 0.99, decay: float = 0.95) -> Tensor:
    """Generalised advantages (n,), where an episode's last chunk earns 1 if it succeeded, and no other does.

    (Schulman et al. 2016, arXiv 1506.02438.)
    """
    reward = (chunks.last & chunks.won).to(value.dtype)
    advantages = torch.zeros_like(value)
    ahead = value.new_zeros(())
    for i in range(len(value) - 1, -1, -1):
        goes_on = 0.0 if chunks.last[i] else 1.0
        after = value[i + 1] if goes_on else value.new_zeros(())
        ahead = reward[i] + discount * after - value[i] + discount * decay * goes_on * ahead
        advantages[i] = ahead
    return advantages
