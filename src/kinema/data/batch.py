"""The value that training steps consume and that serving builds with one row.

Axes: B batch, V views, P points, H steps, K unified slots, L text tokens, S image side.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the policy sees. Identical in training and serving."""

    images: Tensor  # uint8 (B, V, 3, S, S)
    image_mask: Tensor  # bool (B, V): False where a body has fewer cameras than the batch
    tokens: Tensor  # int64 (B, L), left-padded
    token_mask: Tensor  # bool (B, L)
    tags: Tensor  # int64 (B, V, 2): the tokens before and after each view of the row's own body
    state: Tensor  # float32 (B, K), normalised
    moved: Tensor  # float32 (B, K): how far the state has moved since the pictures, in the same numbers
    state_mask: Tensor  # bool (B, K)
    slot_mask: Tensor  # bool (B, K): the body's action channels

    def to(self, device: torch.device | str) -> Inputs:
        """Elsewhere; what is pinned is copied while the caller goes on."""
        return Inputs(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})

    def pin_memory(self) -> Inputs:
        """In memory that a GPU copies from while it computes."""
        return Inputs(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})

    def first(self) -> Inputs:
        """The first row alone (B = 1), in memory of its own."""
        return Inputs(**{f.name: getattr(self, f.name)[:1].clone() for f in fields(self)})

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Inputs and what is to be learnt from them."""

    inputs: Inputs
    actions: Tensor  # float32 (B, H, K), normalised
    action_mask: Tensor  # bool (B, H, K): the body's slots, at steps inside the episode
    quiet_mask: Tensor  # bool (B, K): slots that must stay at zero, because the prompt names another body
    points: Tensor  # float32 (B, V, P, 2): u, v in [0, 1]
    point_mask: Tensor  # bool (B, V, P): a label exists (visible or known to be hidden)
    point_visible: Tensor  # bool (B, V, P)
    clipped: Tensor  # float32 (B,): share of the targets that statistics clip

    def to(self, device: torch.device | str) -> Batch:
        """Elsewhere; what is pinned is copied while the caller goes on."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "inputs"}
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
        return Batch(inputs=self.inputs.to(device), **moved)

    def pin_memory(self) -> Batch:
        """In memory that a GPU copies from while it computes."""
        return Batch(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})

    def __len__(self) -> int:
        return len(self.actions)
