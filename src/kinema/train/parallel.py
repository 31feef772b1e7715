"""The processes that train together: torchrun starts them, one on each device, or they are forked on one CPU.

Whoever starts them, they are the same to everything else: a rank among so many, which draws its share of
every batch, holds its shard of the network (`shard.py`) and does every step, checkpoint and export together
with the others. Rank 0 is the chief, which alone logs and judges.

A laptop's processes are forked from the chief, so that what a stage holds in memory is read once and shared
(`docs/scale.md` has the measurement). Signals are the chief's to heed, which tells the others between two
steps (`loop.py`); when it goes, they go with it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from kinema.schema import KinemaError
from kinema.train.stop import STOPPING

# The chief may be busy with a closed-loop evaluation while the others wait for the next step.
_PATIENCE = timedelta(hours=2)

_apart: dist.ProcessGroup | None = None  # there as long as the default group is

Made = TypeVar("Made")


class SharedError(KinemaError):
    """Raised in every process of a group alike, because all know the same."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """This process among those that train together. local_rank: among those of its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_chief(self) -> bool:
        return self.rank == 0

    def average(self, tensor: Tensor) -> None:
        """Replace a tensor, in place, by its mean over the processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor.div_(self.size)

    def gather(self, value: Made) -> list[Made]:
        """What every process has, in the order of their ranks."""
        found: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(found, value)
        return found

    @property
    def apart(self) -> dist.ProcessGroup | None:
        """A way of their own, over their CPUs, for threads that must not mix with the steps; None alone.

        Not to be kept: one that outlives the group hangs a process that is forked later and collects it.
        """
        return _apart

    def first_alone(self, make: Callable[[], Made]) -> Made:
        """The first process of every machine makes it before the others, which find what it has cached."""
        if self.local_rank and self.size > 1:
            dist.barrier()
        made = make()
        if not self.local_rank and self.size > 1:
            dist.barrier()
        return made


def launched() -> int:
    """How many processes torchrun has started, this one among them; 1 where it was not torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_chief() -> bool:
    """Whether this process is the only one, or the first that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


def restarted() -> bool:
    """Whether torchrun has started this process in place of one that was lost (--max-restarts)."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """This process's place among those that torchrun has started, each with a device of its own."""
    if launched() == 1:
        yield Group()
        return
    rank, size, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    backend = "gloo"
    if device.type != "cpu":
        torch.accelerator.set_device_index(local_rank)
        backend = f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device.type)}"
    _not_outlive_parent()
    # torchrun may keep its store when it restarts: who was there before must not be found in it
    store, *_ = next(rendezvous("env://", rank, size))
    store = dist.PrefixStore(f"restart_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    group = Group(rank=rank, size=size, local_rank=local_rank)
    _meet(group, backend, store=store)
    yield group
    _part()  # not after a failure: it would wait for those that are gone


def in_processes(processes: int, threads: int, work: Callable[[Group], Made]) -> Made:
    """Run `work` in so many processes of so many threads at once; what it returned in this one, the chief."""
    torch.set_num_threads(threads)  # before anything is forked
    with together(processes, work) as group:
        return work(group)


@contextmanager
def together(size: int, work: Callable[[Group], object]) -> Iterator[Group]:
    """Fork `size` - 1 processes that run `work`; yields the parent's own place in the group.

    Raises KinemaError where processes cannot be forked, and where one is lost, which it names.
    """
    if size == 1:
        yield Group()
        return
    if sys.platform != "linux":
        raise KinemaError(f"{size} training processes need Linux; use 1 process with more threads here")
    if torch.get_num_threads() > 1:
        raise KinemaError(f"several training processes have one thread each; got {torch.get_num_threads()}")
    import_module("torch.distributed.fsdp")  # here, and not in each of them
    context = get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        others = [
            context.Process(
                target=_join,
                args=(Group(rank=rank, size=size, local_rank=rank), meeting, os.getpid(), work),
            )  # not daemons, which may not start processes that load their data
            for rank in range(1, size)
        ]
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        gc.freeze()  # what was there before them is not theirs to collect: of groups that are over, say
        for process in others:
            process.start()
        gc.unfreeze()
        try:
            _meet(Group(size=size), "gloo", init_method=meeting)
            yield Group(size=size)
        except RuntimeError as error:  # of a collective, when it is another process that is gone
            if lost := _lost(others):
                raise KinemaError(f"{lost}; --resume goes on from the last checkpoint") from error
            raise
        finally:
            for process in others:
                process.kill()
                process.join(timeout=10)
            if dist.is_initialized():
                _part()


def _lost(others: Sequence[BaseProcess]) -> str:
    """Which processes have ended, and how: those that were killed, else those that failed; "" if none."""
    codes = {}
    for rank, process in enumerate(others, start=1):
        process.join(timeout=1)
        if process.exitcode:
            codes[rank] = process.exitcode
    killed = [f"process {rank} was killed by signal {-code}" for rank, code in codes.items() if code < 0]
    failed = [f"process {rank} failed, see above" for rank, code in codes.items() if code > 0]
    return ", ".join(killed or failed)


def _join(group: Group, meeting: str, chief: int, work: Callable[[Group], object]) -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    _not_outlive_parent()
    try:
        if os.getppid() == chief:  # it may be gone already
            _meet(group, "gloo", init_method=meeting)
            work(group)
    except (KeyboardInterrupt, SharedError):
        pass  # the chief has the same, and says it
    except Exception:
        if os.getppid() == chief:  # else it is the chief's going that is felt here
            traceback.print_exc()
            os._exit(1)
    os._exit(0)


def _not_outlive_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _meet(group: Group, backend: str, **where: Any) -> None:
    global _apart
    dist.init_process_group(backend, rank=group.rank, world_size=group.size, timeout=_PATIENCE, **where)
    _apart = dist.new_group(backend="gloo", timeout=_PATIENCE)


def _part() -> None:
    global _apart
    _apart = None
    dist.destroy_process_group()
