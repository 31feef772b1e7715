"""A setting of the C library that training on a CPU needs to be fast."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Keep freed memory instead of handing it back to the system. About speed only; undone by nothing.

    A training step frees and takes the same large blocks again. glibc returns such blocks to the kernel, and
    the next step pays for every page anew; on two threads this costs a quarter of the time. Threads share
    one heap, for others are given back: it halves the processor time of writing a checkpoint.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library than glibc has none
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_ARENA_MAX, 1)
