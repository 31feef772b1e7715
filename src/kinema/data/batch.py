"""The value that training steps consume and that serving builds with one row.

Axes: B batch, V views, P points, H steps, K unified slots, L text tokens, S image side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor


class Tensors:
    """A frozen dataclass of tensors, of others like it, of tuples of these, and of what may be absent."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same with every tensor changed."""
        return _with(self, {f.name: _each(getattr(self, f.name), change) for f in _fields(self)})

    def to(self, device: torch.device | str) -> Self:
        """Elsewhere; what is pinned is copied to a GPU while the caller goes on."""
        ahead = torch.device(device).type != "cpu"
        return self.each(lambda tensor: tensor.to(device, non_blocking=ahead))

    def pin_memory(self) -> Self:
        """In memory that a GPU copies from while it computes."""
        return self.each(lambda tensor: tensor.pin_memory())


T = TypeVar("T", bound=Tensors)


def joined(parts: Sequence[T]) -> T:
    """Rows of several of one kind, one after the other."""
    return _with(parts[0], {f.name: _join([getattr(p, f.name) for p in parts]) for f in _fields(parts[0])})


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Tensors):
        return value.each(change)
    return tuple(_each(inner, change) for inner in value) if isinstance(value, tuple) else value


def _join(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Tensors):
        return joined(values)
    return torch.cat(list(values)) if isinstance(values[0], Tensor) else values[0]


def _fields(value: Any) -> Any:
    return fields(value)


def _with(value: T, changed: dict[str, Any]) -> T:
    return replace(value, **changed)  # type: ignore[type-var]


@dataclass(frozen=True, kw_only=True)
class Inputs(Tensors):
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

    def first(self) -> Inputs:
        """The first row alone (B = 1), in memory of its own."""
        return self.each(lambda tensor: tensor[:1].clone())

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True)
class Replies(Tensors):
    """Pictures with a question before them, and what is said after them. A reply tokens.

    A reply that is to be found holds only what stands before it.
    """

    images: Tensor  # uint8 (B, V, 3, S, S)
    image_mask: Tensor  # bool (B, V): rows with fewer pictures have theirs first
    tokens: Tensor  # int64 (B, L), left-padded: the first question
    token_mask: Tensor  # bool (B, L)
    tags: Tensor  # int64 (B, V, 2)
    reply: Tensor  # int64 (B, A), right-padded
    reply_mask: Tensor  # bool (B, A)
    learnt: Tensor  # bool (B, A): the tokens of answers, and those that end them

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True)
class Batch(Tensors):
    """Inputs and what is to be learnt from them."""

    inputs: Inputs
    actions: Tensor  # float32 (B, H, K), normalised
    action_mask: Tensor  # bool (B, H, K): the body's slots, at steps inside the episode
    quiet_mask: Tensor  # bool (B, K): slots that must stay at zero, because the prompt names another body
    points: Tensor  # float32 (B, V, P, 2): u, v in [0, 1]
    point_mask: Tensor  # bool (B, V, P): a label exists (visible or known to be hidden)
    point_visible: Tensor  # bool (B, V, P)
    clipped: Tensor  # float32 (B,): share of the targets that statistics clip

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True, kw_only=True)
class Lesson(Tensors):
    """What is to be done, and what is to be said. number: of this batch, or part of one, in its run."""

    acting: Batch
    saying: Replies
    number: int

    def __len__(self) -> int:
        return len(self.acting) + len(self.saying)
