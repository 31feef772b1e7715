"""The flow policy made stochastic, so that what it draws has a probability.

One of the Euler steps of a draw is Gaussian, all others are as `flow.sample` takes them. The step's noise
leaves the distribution at every flow time as it is (flow-SDE of pi_RL: Chen et al. 2025, arXiv 2510.25889;
Qwen-VLA's reinforcement, arXiv 2605.30280, takes the probability of one step drawn by chance):

    data, noise   what the network makes of Y_tau, and the noise that Y_tau then holds
    sigma         level * sqrt(tau / (1 - tau)); where tau is 1, of the tau after the step
    mean          (1 - next) * data + (next - sigma^2 * d / (2 * tau)) * noise,   d = tau - next
    std           sigma * sqrt(d)

Axes: B batch, H steps, K slots.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.model.policy import flow

NOISE_LEVEL = 0.5  # at 0.1 the probabilities are so sharp that learning from them collapses


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a draw: what it went from and to (B, H, K), and which of the draw's steps it is."""

    before: Tensor
    after: Tensor
    index: int


def gaussian(before: Tensor, data: Tensor, index: int, steps: int, level: float) -> tuple[Tensor, float]:
    """Mean (B, H, K) and standard deviation of a stochastic step. data: the network's, of `before`."""
    tau, after = 1 - index / steps, 1 - (index + 1) / steps
    noise = (before - (1 - tau) * data) / tau
    sigma = level * math.sqrt(tau / (1 - (tau if index else after)))
    d = 1 / steps
    mean = (1 - after) * data + (after - sigma**2 * d / (2 * tau)) * noise
    return mean, sigma * math.sqrt(d)


def log_probability(step: Step, mean: Tensor, std: float, mask: Tensor) -> Tensor:
    """Log-density (B,) of where the step went, over the numbers (B, H, K) that are played."""
    z = (step.after - mean) / std
    each = -0.5 * z**2 - math.log(std) - 0.5 * math.log(2 * math.pi)
    return (each * mask).sum((1, 2))


def check_steps(steps: int) -> None:
    """Raise ValueError where no step can be stochastic: the last one, which gives the chunk, never is."""
    if steps < 2:
        raise ValueError(f"a stochastic draw needs at least 2 steps, got {steps}")


def sample(
    predict_data: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int, level: float,
    generator: torch.Generator,
) -> tuple[Tensor, Step]:  # fmt: skip
    """A chunk (B, H, K) from noise (B, H, K), and its stochastic step, which is any but the last."""
    check_steps(steps)
    chosen = int(torch.randint(steps - 1, (1,), generator=generator))
    extra = torch.randn(noise.shape, generator=generator).to(noise.device)
    y, taken = noise, None
    for i in range(steps):
        tau = torch.full((len(noise),), 1 - i / steps, dtype=noise.dtype, device=noise.device)
        data = predict_data(y, tau)
        if i == chosen:
            mean, std = gaussian(y, data, i, steps, level)
            after = mean + std * extra
            taken = Step(before=y, after=after, index=i)
            y = after
        else:
            y = y - flow.velocity(y, data, tau) / steps
    assert taken is not None
    return y, taken
