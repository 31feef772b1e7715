"""Two rules by which played chunks change a policy.

weighted   the ordinary flow loss on all chunks, successes' and failures', each weighted by what it was worth
           (advantage-weighted regression: Peng et al. 2019, arXiv 1910.00177). No probabilities.
flow_sde   PPO on the probability of one stochastic step of each draw (pi_RL, arXiv 2510.25889)

Axes: n decisions, R noise draws, H steps, K slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.model.policy import flow, flow_sde
from kinema.model.policy.decisions import Decisions, prefilled
from kinema.model.policy.policy import Policy


@dataclass(frozen=True, kw_only=True)
class WeightedConfig:
    sharpness: float = 2.0  # of the weights, in standard deviations of the advantage
    most: float = 20.0  # a weight before all are divided by their mean


@dataclass(frozen=True, kw_only=True)
class PpoConfig:
    clip: float = 0.2
    dual_clip: float = 3.0  # of what a bad chunk that has become likely may cost
    level: float = flow_sde.NOISE_LEVEL
    sample_steps: int | None = None  # as while playing; None: the policy's own


def weights(advantages: Tensor, config: WeightedConfig) -> Tensor:
    """Positive, mean 1, larger where the advantage (n,) is."""
    spread = advantages.std().clamp_min(1e-6)
    each = (config.sharpness * (advantages - advantages.mean()) / spread).exp().clamp_max(config.most)
    return each / each.mean()


def flow_loss(
    policy: Policy, decisions: Decisions, generator: torch.Generator, weight: Tensor | None = None
) -> Tensor:
    """The stage's flow loss (n,) of chunks that were played, as `Policy.forward` has it but for prefixes.

    weight: (n,) of the steps that were played; the rest of the chunk, as it was drawn, then counts with
    weight 1: nobody knows what it was worth, but a decoder that denoises whole chunks must not lose it
    """
    config = policy.config
    R, (n, H, K) = config.draws, decisions.chunk.shape
    data = decisions.chunk[:, None].expand(n, R, H, K).flatten(0, 1)
    noise = torch.randn(data.shape, generator=generator)
    tau = flow.draw_tau(n * R, config.tau_concentration, generator, config.times)
    y = flow.interpolate(data, noise, tau)
    read = prefilled(policy, decisions.seen)
    predicted = policy.predict(read, y.unflatten(0, (n, R)), tau.view(n, R)).float().flatten(0, 1)
    found, target = flow.velocity(y, predicted, tau), noise - data

    def loss_of(steps: Tensor) -> Tensor:
        mask = steps[:, None].expand(n, R, H, K).flatten(0, 1)
        return flow.masked_losses(found, target, mask).view(n, R).mean(1)

    played = loss_of(decisions.played)
    if weight is None:
        return played
    rest = decisions.played.any(1, keepdim=True) & ~decisions.played
    share = decisions.played.any(-1).to(played.dtype).mean(1)
    return share * weight * played + (1 - share) * loss_of(rest)


def log_probabilities(policy: Policy, decisions: Decisions, config: PpoConfig) -> Tensor:
    """Of each decision's stochastic step (n,), under the weights as they are."""
    steps = config.sample_steps or policy.config.sample_steps
    tau = 1 - decisions.index.to(torch.float32) / steps
    read = prefilled(policy, decisions.seen)
    data = policy.predict(read, decisions.before[:, None], tau[:, None])[:, 0].float()
    found = torch.zeros(len(decisions))
    for index in decisions.index.unique().tolist():
        rows = decisions.index == index
        before, after = decisions.before[rows], decisions.after[rows]
        mean, std = flow_sde.gaussian(before, data[rows], index, steps, config.level)
        step = flow_sde.Step(before=before, after=after, index=index)
        found = found.masked_scatter(rows, flow_sde.log_probability(step, mean, std, decisions.played[rows]))
    return found


def ppo_loss(ratio: Tensor, advantages: Tensor, config: PpoConfig) -> Tensor:
    """(n,) of ratios of probabilities (n,) and advantages (n,): clipped, and dual-clipped where negative
    (Ye et al. 2020, arXiv 1912.09729)."""
    clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
    loss = torch.maximum(-advantages * ratio, -advantages * clipped)
    return torch.where(advantages < 0, torch.minimum(loss, -config.dual_clip * advantages), loss)
