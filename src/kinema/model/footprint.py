"""What a network takes, counted without memory: parameters by part, and a forward pass on the meta device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from kinema.model.device import Precision


def parts_of(model: nn.Module) -> Iterator[tuple[str, int]]:
    """The parameters of modules, those that hold more than half of all by what they consist of."""
    total, counted = size_of(model.parameters()), set[int]()

    def of(module: nn.Module, name: str) -> Iterator[tuple[str, int]]:
        own = {id(p): p for p in module.parameters() if id(p) not in counted}
        inner = list(module.named_children())
        if inner and not isinstance(module, nn.ModuleList) and size_of(own.values()) > total / 2:
            for part, child in inner:
                yield from of(child, f"{name}.{part}" if name else part)
            own = {key: p for key, p in own.items() if key not in counted}
        counted.update(own)
        if own:
            yield name or "its own", size_of(own.values())

    yield from of(model, "")


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a forward pass takes: bytes kept, where layers are computed again and where not, and FLOP."""

    kept: int
    recomputed: int
    flops: int


def footprint(
    model: nn.Module, layers: Sequence[nn.Module], forward: Callable[[], object], precision: Precision
) -> Footprint:
    """Of a forward pass of a network on the meta device. layers: what it repeats (`Stage.layers`)"""
    own = {id(tensor) for tensor in model.parameters()}
    autocast = _Autocast(precision, own)
    kept: dict[int, tuple[nn.Module | None, Tensor]] = {}
    given: dict[int, Tensor] = {}
    inside: list[nn.Module] = []

    def keep(tensor: Tensor) -> Tensor:
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in own:  # held, so that no other tensor gets its number
            kept.setdefault(id(base), (inside[-1] if inside else None, base))
        return tensor

    def enter(layer: nn.Module, told: tuple[Any, ...], named: dict[str, Any]) -> None:
        inside.append(layer)
        given.update({id(t): t for t in (*told, *named.values()) if isinstance(t, Tensor)})

    def leave(*_: Any) -> None:
        inside.pop()

    hooks = [layer.register_forward_pre_hook(enter, with_kwargs=True) for layer in layers]
    hooks += [layer.register_forward_hook(leave) for layer in layers]
    counter = FlopCounterMode(display=False)
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), autocast, counter:
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    by_layer: dict[nn.Module | None, int] = defaultdict(int)
    for layer, tensor in kept.values():
        by_layer[layer] += _bytes(tensor)
    outside = by_layer.pop(None, 0)
    again = outside + max(by_layer.values(), default=0)
    again += sum(_bytes(t) for key, t in given.items() if kept.get(key, (layers, t))[0] is not None)
    whole = outside + sum(by_layer.values())
    return Footprint(kept=whole, recomputed=min(again, whole), flops=counter.get_total_flops())


class _Autocast(TorchFunctionMode):
    """What autocast does to matrix products and convolutions; torch has none for the meta device.

    own: numbers of the network's tensors, to which those of its weights' copies are added
    """

    _LOWER = (
        functional.linear, functional.conv1d, functional.conv2d, functional.conv3d, torch.matmul, torch.bmm,
        torch.einsum, torch.baddbmm, torch.addmm, Tensor.matmul, Tensor.__matmul__,
        functional.scaled_dot_product_attention,
    )  # fmt: skip

    def __init__(self, precision: Precision, own: set[int]) -> None:
        super().__init__()
        self._casts, self._own = precision == "bf16", own
        self._copies: list[Tensor] = []  # held, so that no other tensor gets their numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._casts and func in self._LOWER:
            args = tuple(map(self._lower, args))
            kwargs = {name: self._lower(value) for name, value in (kwargs or {}).items()}
        return func(*args, **(kwargs or {}))

    def _lower(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32 or value.device.type != "meta":
            return value
        lowered = value.bfloat16()
        if isinstance(value if value._base is None else value._base, nn.Parameter):
            self._copies.append(lowered)
            self._own.add(id(lowered))
        return lowered


def size_of(tensors: Iterable[Tensor]) -> int:
    """How many numbers they hold."""
    return sum(p.numel() for p in tensors)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
