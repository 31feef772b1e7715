"""Flow matching, written once.

    Y_tau = (1 - tau) * data + tau * noise,   velocity = noise - data,   sampled from tau = 1 down to 0

(Lipman et al. 2022, arXiv 2210.02747; the direction is Qwen-VLA's, arXiv 2605.30280.) What is called a
prediction here is one of the data f(Y_tau, tau); its velocity is (Y_tau - f) / tau. The loss is the
velocity's. A small network gives the data itself: an error of it weighs 1 / tau^2 in the loss, and the noise
is copied by arithmetic instead of by what is learnt, for which it has no capacity to spare. The published
ones give the velocity, which `data_of` makes data.

Axes: B batch, H steps, K slots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Times = Literal["beta", "sigmoid_normal"]
Prediction = Literal["data", "velocity"]

# Below this flow time the division by tau would turn rounding into velocity.
MIN_TAU = 0.05


def draw_tau(
    count: int, concentration: float, generator: torch.Generator | None, times: Times = "beta"
) -> Tensor:
    """Flow times (count,) from Beta(concentration, 1): 1 is uniform, larger leans to the noise end.

    Training near the noise end makes one Euler step as good as ten for single-minded experts
    (arXiv 2606.05737). "sigmoid_normal" is a standard normal number squashed, which leans to the middle.
    """
    if times == "sigmoid_normal":
        return torch.randn(count, generator=generator).sigmoid().clamp_min(MIN_TAU)
    uniform = torch.rand(count, generator=generator)
    return uniform.pow(1.0 / concentration).clamp_min(MIN_TAU)


def interpolate(data: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
    """Y_tau (B, H, K) from data and noise (B, H, K) and tau (B,)."""
    tau = tau[:, None, None]
    return (1 - tau) * data + tau * noise


def velocity(y_tau: Tensor, predicted_data: Tensor, tau: Tensor) -> Tensor:
    """The velocity (B, H, K) that leads from Y_tau to the predicted data."""
    return (y_tau - predicted_data) / tau[:, None, None]


def data_of(y_tau: Tensor, velocity: Tensor, tau: Tensor) -> Tensor:
    """The data (..., H, K) that a velocity leads to from Y_tau (..., H, K) at tau (...)."""
    return y_tau - tau[..., None, None] * velocity


def masked_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The mean of `masked_losses` over B."""
    return masked_losses(predicted, target, mask).mean()


def masked_losses(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Squared error (B,): mean over valid steps per channel, then the plain mean over valid channels.

    mask is bool (B, H, K). No body weighs more for having more channels.
    """
    weight = mask.to(predicted.dtype)
    per_channel = ((predicted - target) ** 2 * weight).sum(1) / weight.sum(1).clamp_min(1)  # (B, K)
    channel_valid = weight.amax(1)
    return (per_channel * channel_valid).sum(1) / channel_valid.sum(1).clamp_min(1)


@dataclass(frozen=True, kw_only=True)
class Known:
    """The part of a chunk that is decided already: values (B, H, K) where mask (B, H, K) holds."""

    values: Tensor
    mask: Tensor


def sample(
    predict_data: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int, known: Known | None = None
) -> Tensor:
    """Euler integration from noise (B, H, K) at tau = 1 to data at tau = 0 in `steps` equal steps.

    What is known is painted in at every step, at that step's noise level, so that the rest is drawn to fit
    it (real-time chunking: Black et al. 2025, arXiv 2506.07339), and holds exactly at the end.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    y = noise
    for i in range(steps):
        tau = 1.0 - i / steps
        tau_B = torch.full((len(noise),), tau, dtype=noise.dtype, device=noise.device)
        if known is not None:
            y = torch.where(known.mask, interpolate(known.values, noise, tau_B), y)
        y = y - velocity(y, predict_data(y, tau_B), tau_B) / steps
    return y if known is None else torch.where(known.mask, known.values, y)
