"""Tensors that depend on shapes alone: computed once, and kept from one call to the next."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor


class Tables:
    """Pairs of tensors by key. Whoever asks first makes them, but never in inference mode: what is made there
    cannot be trained with later."""

    def __init__(self) -> None:
        self._made: dict[Hashable, tuple[Tensor, Tensor]] = {}

    def get(self, key: Hashable, make: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        if key not in self._made:
            with torch.inference_mode(False), torch.no_grad():
                self._made[key] = make()
        return self._made[key]
