"""Which rows of a batch hold numbers that are not finite, and where they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from kinema.data.batch import Lesson

_NAMED = 3


def blame(parts: Sequence[Any], origins: Sequence[Sequence[str]]) -> str:
    """One sentence. origins: for each row of each part of a batch, what it was drawn from
    ("set, episode, frame")."""
    rows = [row for part, origin in zip(parts, origins) for row in _bad_rows_of(part, origin)]
    if rows:
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        return f"not finite in the data: {'; '.join(rows[:_NAMED])}{more}"
    shares = Counter(name.split(", ")[0] for origin in origins for name in origin)
    drawn = ", ".join(f"{name} ({count})" for name, count in shares.items())
    return f"every number of the batch is finite; its rows are of {drawn}"


def _bad_rows_of(part: Any, origin: Sequence[str]) -> list[str]:
    if not isinstance(part, Lesson):
        return _bad_rows(part, origin)
    acts = len(part.acting)
    return _bad_rows(part.acting, origin[:acts]) + _bad_rows(part.saying, origin[acts:])


def _bad_rows(part: Any, origin: Sequence[str]) -> list[str]:
    bad = torch.zeros(len(origin), dtype=torch.bool)
    for tensor in _tensors(part):
        if tensor.is_floating_point() and len(tensor) == len(origin):
            bad |= ~torch.isfinite(tensor.detach().cpu()).reshape(len(tensor), -1).all(1)
    return [name for name, is_bad in zip(origin, bad.tolist()) if is_bad]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.ndim:
            yield value
    elif is_dataclass(value):
        for each in fields(value):
            yield from _tensors(getattr(value, each.name))
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _tensors(inner)
