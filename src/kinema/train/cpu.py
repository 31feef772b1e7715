"""Two settings of the processor and the C library that training on a CPU needs to be fast."""

from __future__ import annotations

import ctypes
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def prepare_cpu() -> None:
    """Keep freed memory, and round denormal numbers to zero. About speed only; undone by nothing.

    A training step frees and takes the same large blocks again. glibc returns such blocks to the kernel, and
    the next step pays for every page anew; on two threads this costs a quarter of the time. Softmax and
    averages are full of denormal numbers, which processors handle slowly.
    """
    torch.set_flush_denormal(True)
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library than glibc has none
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
