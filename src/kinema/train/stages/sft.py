"""The supervised stage: imitate demonstrations, and point, from augmented pictures."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from kinema.data.batch import Batch
from kinema.model.policy.policy import Policy
from kinema.train.augment import AugmentConfig, augment


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    point_cell_weight: float = 0.1
    point_uv_weight: float = 1.0
    quiet_weight: float = 0.5
    # Share of rows told another body's name, to make the prompt decide which body moves.
    misnamed: float = 0.1
    # Share of rows whose state token is hidden, so that the pictures stay in use (0: never hidden).
    state_dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.state_dropout < 1:
            raise ValueError(f"state_dropout must lie in [0, 1), got {self.state_dropout}")


class Sft:
    """Objective and loss weights of the stage."""

    def __init__(self, policy: Policy, config: SftConfig) -> None:
        self.policy, self.config = policy, config
        self.weights = {"flow": 1.0, "quiet": config.quiet_weight}
        if policy.config.points:
            self.weights |= {"point_cell": config.point_cell_weight, "point_uv": config.point_uv_weight}

    def __call__(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        batch = augment(batch, self.config.augment, generator)
        hidden = torch.rand(len(batch), generator=generator) < self.config.state_dropout
        batch.inputs.state_mask[hidden] = False
        device = next(self.policy.parameters()).device
        return self.policy.losses(batch.to(device), generator)
