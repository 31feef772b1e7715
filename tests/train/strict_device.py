"""A device that computes like the CPU and refuses tensors of other devices beside its own, as a GPU does.

Its tensors are wrappers that say they lie on `strict:0`; every operation checks where its arguments lie, runs
on the CPU on what they hold, and wraps the result. So a step of training runs with real numbers, and an
operation that would fail on a GPU fails here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "strict"
aten = torch.ops.aten


class StrictTensor(Tensor):
    """A tensor on the strict device; `held` is what it holds, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> StrictTensor:
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=torch.device(NAME, 0),
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees what no strict tensor takes part in: moving to the device, and making tensors on it."""

    def __torch_dispatch__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None):
        return _run(func, args, kwargs or {})


# what may be handed a tensor of another device: copies, and what only asks
_CROSSING = {aten._to_copy.default, aten.copy_.default}


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    wanted = kwargs.get("device")
    wanted = None if wanted is None else torch.device(wanted).type
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    strict = [x for x in tensors if isinstance(x, StrictTensor)]
    if not strict and wanted != NAME:
        return func(*args, **kwargs)
    if func not in _CROSSING:
        for other in tensors:
            if not isinstance(other, StrictTensor) and other.ndim and strict:
                raise RuntimeError(
                    f"{func}: all tensors must be on the same device, but found {NAME}:0 and {other.device}"
                )
    stays = bool(strict) and wanted is None if func is aten._to_copy.default else True
    held_args = tree_map_only(StrictTensor, lambda x: x.held, args)
    held_kwargs = tree_map_only(StrictTensor, lambda x: x.held, kwargs)
    if wanted is not None:
        held_kwargs["device"] = torch.device("cpu")
    if func is aten._to_copy.default:
        held_kwargs.pop("device", None)
        stays = wanted in (None, NAME)
    out = func(*held_args, **held_kwargs)
    if func is aten.copy_.default and not isinstance(args[0], StrictTensor):
        return args[0]
    if not stays:
        return out
    wrapped = tree_map(lambda x: StrictTensor(x) if isinstance(x, Tensor) else x, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


_registered = False


@contextmanager
def strict_device() -> Iterator[str]:
    """The device's name, to be asked for as one asks for "cuda"."""
    global _registered
    if not _registered:
        _setup_privateuseone_for_python_backend(NAME)
        _registered = True
    with _Mode():
        yield NAME
