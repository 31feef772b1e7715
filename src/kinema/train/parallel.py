"""Data parallelism on one machine: every process draws rows of its own, and all take the same step.

On a CPU two processes of one thread each train faster than one process of two threads, because nothing but
the gradients has to wait. The processes are forked, so the pictures in memory are shared and not copied.
The parent is rank 0: it alone logs, saves and exports. Signals are its to heed, and it tells the others
between two steps (`train/loop.py`). When it goes, the others go with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
import traceback
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
from kinema.train.stop import STOPPING

# The chief may be busy with a closed-loop evaluation while the others wait for the next step.
_PATIENCE = timedelta(hours=2)
_LONGEST = 2048  # bytes of a sentence that processes tell each other

Made = TypeVar("Made")


class SharedError(KinemaError):
    """Raised in every process of a group alike, because all know the same."""


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

    def gather(self, text: str) -> list[str]:
        """What every process says, in the order of their ranks; cut at _LONGEST bytes."""
        if self.size == 1:
            return [text]
        mine = torch.zeros(_LONGEST, dtype=torch.uint8)
        content = text.encode()[:_LONGEST]
        mine[: len(content)] = torch.tensor(list(content), dtype=torch.uint8)
        theirs = [torch.zeros_like(mine) for _ in range(self.size)]
        dist.all_gather(theirs, mine)
        return [bytes(said.tolist()).rstrip(b"\0").decode(errors="ignore") for said in theirs]


def in_processes(processes: int, threads: int, work: Callable[[Group], Made]) -> Made:
    """Run `work` in so many processes of so many threads at once; what it returned in this one, the chief."""
    torch.set_num_threads(threads)  # before anything is forked
    with together(processes, work) as group:
        return work(group)


@contextmanager
def together(size: int, work: Callable[[Group], object]) -> Iterator[Group]:
    """Fork `size` - 1 processes that run `work`; yields the parent's own place in the group.

    Raises KinemaError where processes cannot be forked. They share a CPU: what runs elsewhere is one process.
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
            context.Process(
                target=_join, args=(Group(rank=rank, size=size), meeting, os.getpid(), work)
            )  # not daemons, which may not start processes that load their data
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        _meet(Group(size=size), meeting)
        try:
            yield Group(size=size)
        finally:
            for process in others:
                process.kill()
                process.join(timeout=10)
            dist.destroy_process_group()


def _join(group: Group, meeting: str, chief: int, work: Callable[[Group], object]) -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive the chief
    try:
        if os.getppid() == chief:  # it may be gone already
            _meet(group, meeting)
            work(group)
    except (KeyboardInterrupt, SharedError):
        pass  # the chief has the same, and says it
    except Exception:
        if os.getppid() == chief:  # else it is the chief's going that is felt here
            traceback.print_exc()
            os._exit(1)
    os._exit(0)


def _meet(group: Group, meeting: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=meeting, rank=group.rank, world_size=group.size, timeout=_PATIENCE
    )
