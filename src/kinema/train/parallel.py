"""Data parallelism on one machine: every process draws rows of its own, and all take the same step.

On a CPU two processes of one thread each train faster than one process of two threads, because nothing but
the gradients has to wait. The processes are forked, so the pictures in memory are shared and not copied.
The parent is rank 0: it alone logs, saves and exports. When it goes, the others go with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from kinema.schema import KinemaError

# The chief may be busy with a closed-loop evaluation while the others wait for the next step.
_PATIENCE = timedelta(hours=2)

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Group:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def is_chief(self) -> bool:
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor, in place, by its mean over the processes."""
        if self.size == 1:
            return
        tensors = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(total.view_as(tensor)).div_(self.size)


def in_processes(processes: int, threads: int, work: Callable[[Group], Made]) -> Made:
    """Run `work` in so many processes of so many threads at once; what it returned in this one, the chief."""
    torch.set_num_threads(threads)  # before anything is forked
    with together(processes, work) as group:
        return work(group)


@contextmanager
def together(size: int, work: Callable[[Group], object]) -> Iterator[Group]:
    """Fork `size` - 1 processes that run `work`; yields the parent's own place in the group.

    Raises KinemaError where processes cannot be forked.
    """
    if size == 1:
        yield Group()
        return
    if sys.platform != "linux":
        raise KinemaError(f"{size} training processes need Linux; use 1 process with more threads here")
    if torch.get_num_threads() > 1:
        raise KinemaError(f"several training processes have one thread each; got {torch.get_num_threads()}")
    context = get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        others = [
            context.Process(target=_join, args=(Group(rank=rank, size=size), meeting, work), daemon=True)
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        _meet(Group(size=size), meeting)
        try:
            yield Group(size=size)
        finally:
            for process in others:
                process.terminate()
                process.join(timeout=10)
            dist.destroy_process_group()


def _join(group: Group, meeting: str, work: Callable[[Group], object]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the chief's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: never outlive a killed chief
    _meet(group, meeting)
    try:
        work(group)
    except RuntimeError as error:
        # the chief stopped first, for a reason that it says itself
        if "onnection" not in str(error):
            raise
    os._exit(0)


def _meet(group: Group, meeting: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=meeting, rank=group.rank, world_size=group.size, timeout=_PATIENCE
    )
