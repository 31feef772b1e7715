"""A device that computes like the CPU and refuses tensors of other devices beside its own, as a GPU does.

Its tensors are wrappers that say they lie on `strict:0`; every operation checks where its arguments lie, runs
on the CPU on what they hold, and wraps the result. So a step of training runs with real numbers, and an
operation that would fail on a GPU fails here.

To import this changes the process for good (autograd gets a thread for the device, no fork may follow), so it
is only used in a process of its own: `on_strict_device.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "strict"
aten = torch.ops.aten


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def current_stream(self) -> _Module:
        """Everything is done in order, so the device is its only stream."""
        return self

    def stream(self, stream: _Module) -> AbstractContextManager[None]:
        return nullcontext()

    def synchronize(self) -> None:
        pass


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
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees what no strict tensor takes part in: moving to the device, and making tensors on it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """`torch.tensor` goes to a device below what a dispatch mode sees; here it goes by way of the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


_MOVES = (aten._to_copy.default, aten.copy_.default)


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    found: list[Tensor] = []
    _mapped(found.append, (args, kwargs))
    strict = any(isinstance(x, StrictTensor) for x in found)
    wanted = kwargs.get("device")
    onto = strict if wanted is None else torch.device(wanted).type == NAME
    if not strict and not onto:
        return func(*args, **kwargs)
    if func is aten._fused_sdp_choice.default:
        return 0  # the plain formula: the fused kernels are of devices that are not here
    if func not in _MOVES and strict:
        _check(func, args, kwargs)
    if func is aten.copy_.default:
        onto = isinstance(args[0], StrictTensor)
    inner = _mapped(held, (args, kwargs))
    if wanted is not None:
        inner[1]["device"] = torch.device("cpu")
    out = func(*inner[0], **inner[1])
    if func is aten._to_copy.default and wanted is not None and out is inner[0][0]:
        out = out.clone()
    if not onto:
        return args[0] if func is aten.copy_.default else out
    return return_and_correct_aliasing(func, args, kwargs, _mapped(StrictTensor, out))


def _mapped(change: Callable[[Tensor], Any], value: Any) -> Any:
    """With every tensor among arguments or results changed; torch's own tree would take most of a step."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)([_mapped(change, part) for part in value])
    if isinstance(value, dict):
        return {key: _mapped(change, part) for key, part in value.items()}
    return value


def _check(func: Any, args: tuple, kwargs: dict) -> None:
    """As torch does: a number on the CPU may stand beside tensors, but not in a list of them."""
    for value in (*args, *kwargs.values()):
        inside = isinstance(value, (list, tuple))
        for tensor in value if inside else (value,):
            foreign = isinstance(tensor, Tensor) and not isinstance(tensor, StrictTensor)
            if foreign and (inside or tensor.ndim):
                raise RuntimeError(
                    f"{func}: expected all tensors to be on the same device, but found {NAME}:0 and "
                    f"{tensor.device}"
                )


def _register() -> torch.library.Library:
    """Make the device known, and autocast on it. For good: whoever imports this lends his process to it."""
    _setup_privateuseone_for_python_backend(NAME, _Module())
    library = torch.library.Library("aten", "IMPL")
    for name in (
        "linear",
        "matmul",
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "conv2d",
        "scaled_dot_product_attention",
    ):
        library.impl(name, _lowered(getattr(aten, name).default), "AutocastPrivateUse1")
    library.impl("grid_sampler", _widest(aten.grid_sampler.default), "AutocastPrivateUse1")
    others = torch.library.Library("_", "IMPL")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _libraries.append(others)
    return library


def _lowered(operation: Any) -> Any:
    """In bf16, as autocast has it for what multiplies matrices."""
    return _cast(operation, lambda tensors: torch.bfloat16)


def _widest(operation: Any) -> Any:
    """In the widest type of its arguments."""
    return _cast(operation, lambda tensors: torch.float32)


def _cast(operation: Any, chosen: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        dtype = chosen(args)
        args, kwargs = _mapped(
            lambda x: x.to(dtype) if x.dtype == torch.float32 or dtype == torch.float32 else x, (args, kwargs)
        )
        with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
            return operation(*args, **kwargs)

    return call


_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
_libraries: list[torch.library.Library] = []
_libraries.append(_register())


@contextmanager
def strict_device() -> Iterator[str]:
    """The device's name, to be asked for as one asks for "cuda"."""
    with _Mode(), _Literals():
        yield NAME


def held(tensor: Tensor) -> Tensor:
    """What a tensor holds, wherever it lies."""
    return tensor.held if isinstance(tensor, StrictTensor) else tensor
