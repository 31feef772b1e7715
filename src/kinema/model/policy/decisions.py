"""What a policy decided, and all that learning from it needs: no picture is kept, only what was made of it.

What comes before the decoder stays as it is while a policy is reinforced (full training under a sparse
reward is unstable, and a decoder's step costs a fraction of the whole), so an observation is its context.

Axes: n decisions, T context tokens, C decoder width, H steps, K slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kinema.data.batch import Inputs, Tensors, joined
from kinema.model.policy.policy import Policy, Prefilled


@dataclass(frozen=True, kw_only=True)
class Seen(Tensors):
    """Observations as the decoder reads them, in half precision."""

    context: Tensor  # float16 (n, T, C)
    mask: Tensor  # bool (n, T)
    condition: Tensor  # float16 (n, C)

    def __len__(self) -> int:
        return len(self.mask)

    def pooled(self) -> Tensor:
        """The mean of an observation's tokens, float32 (n, C): what its value is read from."""
        weight = self.mask[..., None].float()
        return (self.context.float() * weight).sum(1) / weight.sum(1).clamp_min(1)


@dataclass(frozen=True, kw_only=True)
class Decisions(Tensors):
    """Chunks that were played, each with what was seen and with the stochastic step it came by."""

    seen: Seen
    chunk: Tensor  # float32 (n, H, K), normalised
    played: Tensor  # bool (n, H, K): the body's slots, at the steps that were played
    before: Tensor  # float32 (n, H, K), see `flow_sde.Step`; zero where every step was deterministic
    after: Tensor  # float32 (n, H, K)
    index: Tensor  # int64 (n,): which step it was; -1: none

    def __len__(self) -> int:
        return len(self.chunk)

    def take(self, rows: Tensor) -> Decisions:
        """The decisions of these numbers."""
        return self.each(lambda tensor: tensor[rows])


def see(policy: Policy, inputs: Inputs) -> Seen:
    """What the decoder will read of these inputs."""
    with torch.inference_mode():
        found = policy.read(inputs)
    seen = Seen(
        context=found.context.to(torch.float16), mask=found.mask, condition=found.condition.to(torch.float16)
    )
    return seen.each(lambda tensor: tensor.cpu().clone())


def prefilled(policy: Policy, seen: Seen) -> Prefilled:
    """The same as the decoder takes it, with the decoder's own keys and values."""
    width = policy.context_in.weight
    context, condition = seen.context.to(width), seen.condition.to(width)
    mask = seen.mask.to(width.device)
    return policy.remembered(Prefilled(context=context, mask=mask, condition=condition, pointed=None))


def together(parts: Sequence[Decisions]) -> Decisions:
    """Decisions one after the other; shorter contexts are filled up with tokens that are masked."""
    longest = max(part.seen.mask.shape[1] for part in parts)
    return joined([_lengthened(part, longest) for part in parts])


def _lengthened(decisions: Decisions, tokens: int) -> Decisions:
    seen = decisions.seen
    more = tokens - seen.mask.shape[1]
    return replace(
        decisions,
        seen=replace(seen, context=F.pad(seen.context, (0, 0, 0, more)), mask=F.pad(seen.mask, (0, more))),
    )
