"""From the rollouts of some rounds to a changed decoder.

Everything before the decoder is frozen, and the optimisers begin anew each round, so that a round is a
function of the policy, the value head and the rollouts that it is given, and of its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from kinema.data.batch import Batch
from kinema.model.policy.decisions import Decisions, see, together
from kinema.model.policy.policy import Policy
from kinema.schema import KinemaError
from kinema.train.optim import Ema
from kinema.train.reinforce.rollout import Chunks, Rollout
from kinema.train.reinforce.rules import (
    PpoConfig,
    WeightedConfig,
    flow_loss,
    log_probabilities,
    ppo_loss,
    weights,
)
from kinema.train.reinforce.value import ValueHead, fit, gae, time_left, time_saved

Rule = Literal["weighted", "flow_sde"]


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """Learning rates are AdamW's. updates: of a round under `weighted`; epochs: over a round under `flow_sde`

    keep_rounds: how many rounds `weighted` learns from; of older ones the policy was another
    average: decay of the running average of the weights, which is what a round of `weighted` ends with; its
        steps are as noisy as those of the training that an average made shippable
    """

    rule: Rule = "weighted"
    lr: float = 5e-5
    average: float = 0.97
    value_lr: float = 1e-3
    value_steps: int = 300
    updates: int = 100
    epochs: int = 4
    rows: int = 128
    keep_rounds: int = 6
    clip_norm: float = 1.0
    weighted: WeightedConfig = field(default_factory=WeightedConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise KinemaError(f"rule {self.rule!r} is unknown; choices: {', '.join(get_args(Rule))}")

    @property
    def rounds(self) -> int:
        """How many of the last rounds are learnt from."""
        return self.keep_rounds if self.rule == "weighted" else 1


class Learner:
    """demonstrations: of which half of every step's loss is, under `weighted`; None: there are none"""

    def __init__(
        self, policy: Policy, value: ValueHead, config: LearnConfig, demonstrations: Decisions | None = None
    ) -> None:  # fmt: skip
        self.policy, self.value, self.config = policy, value, config
        self._demonstrations = demonstrations
        policy.requires_grad_(False)
        policy.decoder.requires_grad_(True)
        policy.eval()

    def learn(self, rollouts: Sequence[Rollout], seed: int) -> Mapping[str, float]:
        """Change the policy and the value head; the numbers of the round."""
        generator = torch.Generator().manual_seed(seed)
        chunks = Chunks.of(rollouts)
        rule = self._weighted if self.config.rule == "weighted" else self._ppo
        return rule(chunks, generator)

    def _weighted(self, chunks: Chunks, generator: torch.Generator) -> Mapping[str, float]:
        config = self.config
        pooled, optimizer = chunks.decisions.seen.pooled(), self._value_optimizer()
        fitted = fit(
            self.value, optimizer, pooled, time_left(chunks), steps=config.value_steps, generator=generator
        )
        with torch.no_grad():
            weight = weights(time_saved(chunks, self.value(pooled)), config.weighted)
        optimizer, losses = self._optimizer(), []
        average = Ema(self.policy.decoder, config.average, ramps=False)
        for update in range(config.updates):
            rows = torch.randint(len(chunks), (config.rows,), generator=generator)
            tried = chunks.decisions.take(rows)
            loss = flow_loss(self.policy, tried, generator, weight[rows]).mean()
            if self._demonstrations is not None:
                rows = torch.randint(len(self._demonstrations), (config.rows,), generator=generator)
                shown = flow_loss(self.policy, self._demonstrations.take(rows), generator).mean()
                loss = (loss + shown) / 2
            self._step(optimizer, loss)
            average.update(self.policy.decoder, update)
            losses.append(float(loss.detach()))
        self.policy.decoder.load_state_dict(average.weights, strict=False)
        return {"value_loss": fitted, "loss": _mean(losses), "weight_most": float(weight.max())}

    def _ppo(self, chunks: Chunks, generator: torch.Generator) -> Mapping[str, float]:
        config = self.config
        if (chunks.decisions.index < 0).any():
            raise KinemaError("flow_sde learns from stochastic draws, and some of these rollouts have none")
        pooled = chunks.decisions.seen.pooled()
        with torch.no_grad():
            value = self.value(pooled)
            before = log_probabilities(self.policy, chunks.decisions, config.ppo)
        advantages = gae(chunks, value)
        target = value + advantages
        advantages = (advantages - advantages.mean()) / advantages.std().clamp_min(1e-6)
        optimizer, losses, ratios = self._optimizer(), [], []
        for _ in range(config.epochs):
            for rows in torch.randperm(len(chunks), generator=generator).split(config.rows):
                after = log_probabilities(self.policy, chunks.decisions.take(rows), config.ppo)
                ratio = (after - before[rows]).exp()
                loss = ppo_loss(ratio, advantages[rows], config.ppo).mean()
                self._step(optimizer, loss)
                losses.append(float(loss.detach()))
                ratios.append(float((ratio.detach() - 1).abs().mean()))
        fitted = fit(
            self.value, self._value_optimizer(), pooled, target, steps=config.value_steps, generator=generator
        )
        return {"value_loss": fitted, "loss": _mean(losses), "ratio_off": _mean(ratios)}

    def _optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.policy.decoder.parameters(), lr=self.config.lr, weight_decay=0.0)

    def _value_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.value.parameters(), lr=self.config.value_lr, weight_decay=1e-3)

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.decoder.parameters(), self.config.clip_norm)
        optimizer.step()


def shown(policy: Policy, batches: Callable[[int], Batch], count: int) -> Decisions:
    """So many demonstrated windows, as decisions that were played."""
    parts: list[Decisions] = []
    while sum(map(len, parts)) < count:
        batch = batches(len(parts))
        nothing = torch.zeros_like(batch.actions)
        parts.append(
            Decisions(
                seen=see(policy, batch.inputs), chunk=batch.actions, played=batch.action_mask,
                before=nothing, after=nothing, index=torch.full((len(batch),), -1),
            )
        )  # fmt: skip
    return together(parts)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
