"""What a policy needs of memory, before anything is allocated: its weights, and one answer on meta tensors.

Not counted are an allocator's gaps and kernels' workspace, for which a tenth of the memory is left free.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kinema.data.batch import Inputs
from kinema.model.policy.loading import Loading
from kinema.model.policy.policy import Policy, PolicyConfig
from kinema.schema import KinemaError

_USED = 0.9  # of what is free
_STORED = 2  # bytes of a number in an artifact


def weight_bytes(policy: Policy, loading: Loading) -> int:
    """Of a policy's weights so loaded; they need not be there."""
    return sum(loading.bytes_of(name, weight) for name, weight in policy.state_dict().items())


def largest_bytes(policy: Policy, loading: Loading) -> int:
    """Of the largest weight as it is stored, and before it is quantised: both are there while it is read."""
    plain = replace(loading, quantise=None)
    return max(
        _STORED * weight.numel() + plain.bytes_of(name, weight)
        for name, weight in policy.state_dict().items()
    )


def answer_bytes(config: PolicyConfig, loading: Loading, inputs: Inputs) -> int:
    """What one answer makes beside the weights, at most at once: computed with shapes alone."""
    with torch.device("meta"):
        policy = Policy(config).to(loading.torch_dtype)
        noise = torch.empty(len(inputs), 1, config.decoder.horizon, inputs.state.shape[1])
    most = most_alive(lambda: policy.sample(inputs.to("meta"), noise))
    widened = max((w.numel() for n, w in policy.state_dict().items() if loading.quantises(n, w)), default=0)
    return most + widened * loading.torch_dtype.itemsize


def check_fits(what: str, policy: Policy, loading: Loading, answering: int = 0) -> None:
    """Raise KinemaError, with what would help, where weights and an answer's bytes are more than is free."""
    free = free_bytes(torch.device(loading.device))
    if free is None:
        return

    def needed(how: Loading) -> int:
        return weight_bytes(policy, how) + max(largest_bytes(policy, how), answering)

    if needed(loading) <= _USED * free:
        return
    smaller = [replace(loading, dtype="bf16", quantise=None)]
    with suppress(KinemaError):  # torchao may not be installed
        smaller.append(replace(smaller[0], quantise="int8"))
    fitting = next((how for how in smaller if needed(how) <= _USED * free), None)
    least = smaller[-1]
    mend = f"it fits as {fitting}" if fitting else f"nor does it as {least} ({_gb(needed(least))})"
    raise KinemaError(
        f"{what} does not fit: as {loading} it needs {_gb(needed(loading))}, and {loading.device} has "
        f"{_gb(free)} free, of which a tenth is left free; {mend}"
    )


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be taken there; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return _said_by_linux("meminfo", "MemAvailable") if Path("/proc/meminfo").exists() else None


def held_bytes(device: torch.device, *, most: bool = False) -> int:
    """What this process holds there now, or held at most since `forget_most`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) if most else torch.cuda.memory_allocated(device)
    return _said_by_linux("self/status", "VmHWM" if most else "VmRSS")


def forget_most(device: torch.device) -> None:
    """The most that was held is what is held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def most_alive(work: Callable[[], object]) -> int:
    """Bytes of the tensors that `work` makes, where most of them are there at once."""
    with _Alive() as alive:
        work()
    return alive.most


def _said_by_linux(file: str, what: str) -> int:
    lines = Path("/proc", file).read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(what)).split()[1])


class _Alive(TorchDispatchMode):
    """Counts the bytes of what operations return for as long as it lives."""

    def __init__(self) -> None:
        super().__init__()
        self._now = self.most = 0
        self._known = weakref.WeakKeyDictionary[Any, int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = self._known[storage] = storage.nbytes()
        self._now += size
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self._now -= size


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
