"""Optimiser, learning-rate schedule and the moving average of weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    lr: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    warmup_steps: int = 200
    final_lr_fraction: float = 0.02
    clip_norm: float = 1.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        if not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in (0, 1), got {self.ema_decay}")
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}")


def adamw(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW; biases, norms, embeddings and other vectors are not decayed."""
    decay = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def cosine(progress: float, step: int, config: OptimConfig) -> float:
    """Learning rate at a fraction `progress` of the run in [0, 1], after a linear warm-up over steps."""
    warmup = min(1.0, (step + 1) / config.warmup_steps)
    fall = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return config.lr * warmup * (config.final_lr_fraction + (1 - config.final_lr_fraction) * fall)


class Ema:
    """Exponential moving average of a model's weights, with the usual ramp at the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        mine = [v for v in self.weights.values() if v.is_floating_point()]
        theirs = [v for k, v in model.state_dict().items() if self.weights[k].is_floating_point()]
        torch._foreach_lerp_(mine, theirs, 1 - decay)
