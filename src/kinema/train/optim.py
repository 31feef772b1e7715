"""Optimiser, learning-rate schedule and the moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kinema.train.device import Precision


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    lr: float = 1e-3  # AdamW: vectors, embeddings, convolutions and the layers at both ends
    matrix_lr: float | None = 2e-3  # Muon: the matrices of the blocks. None: AdamW everywhere
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

    def scaled(self, factor: float) -> OptimConfig:
        """The same with both learning rates multiplied."""
        return replace(self, lr=self.lr * factor, matrix_lr=self.matrix_lr and self.matrix_lr * factor)


class Optimizer:
    """Muon for the hidden matrices, AdamW for everything else, behind one step.

    Muon orthogonalises each matrix's momentum (Jordan et al. 2024; step size matched to AdamW's as in
    Liu et al. 2025, arXiv 2502.16982). In a run of a few thousand steps it learns noticeably sooner.

    precision: in which Muon orthogonalises; bf16 is torch's own
    """

    def __init__(self, model: nn.Module, config: OptimConfig, precision: Precision = "fp32") -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        matrices = [p for name, p in named if config.matrix_lr and _is_hidden_matrix(name, p)]
        chosen = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in chosen]
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)
        ]
        self._peaks = [config.lr]
        if config.matrix_lr and matrices:
            muon = torch.optim.Muon if precision == "bf16" else MuonInSinglePrecision
            self._peaks.append(config.matrix_lr)
            self.parts.append(
                muon(
                    matrices,
                    lr=config.matrix_lr,
                    weight_decay=config.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )

    def step(self, fraction: float) -> None:
        """One step at a fraction of the peak learning rates; then forget the gradients."""
        for part, peak in zip(self.parts, self._peaks):
            for group in part.param_groups:
                group["lr"] = peak * fraction
            part.step()
        self.forget()

    def forget(self) -> None:
        """Drop the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)


class MuonInSinglePrecision(torch.optim.Muon):
    """torch's Muon, which orthogonalises in bf16, for machines that have no units for it."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; `closure` is there for the interface and not called."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                mean = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
                wanted = parameter.grad.lerp(mean, momentum) if group["nesterov"] else mean
                update = orthogonal(wanted, group["ns_coefficients"], group["ns_steps"], group["eps"])
                size = 0.2 * math.sqrt(max(parameter.shape))  # "match_rms_adamw"
                parameter.mul_(1 - lr * group["weight_decay"]).add_(update, alpha=-lr * size)


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """A matrix of the same singular vectors whose singular values are all about 1, by Newton-Schulz steps."""
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def _is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    inside = any(part in name for part in (".blocks.", ".layers.", "transformer_blocks."))
    return parameter.ndim == 2 and inside and "modulation" not in name and "_mod." not in name


def cosine(progress: float, step: int, config: OptimConfig) -> float:
    """Fraction of the peak learning rate at `progress` in [0, 1] of the run, after a linear warm-up."""
    warmup = min(1.0, (step + 1) / config.warmup_steps)
    fall = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return warmup * (config.final_lr_fraction + (1 - config.final_lr_fraction) * fall)


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
