"""Signals that stop a run: the first one is a request, heeded between two steps; the second ends at once.

A signal that raised wherever it arrives would leave half a step behind: a batch drawn but not learnt from,
one optimiser ahead of the other.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def interruptible() -> Iterator[None]:
    """While entered, each of the signals raises KeyboardInterrupt; handlers come back afterwards.

    A shell starts a run in the background with Ctrl-C ignored: SIGINT interrupts nevertheless. Other
    signals that are ignored stay so (nohup, say).
    """
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number, handler in before.items():
        if number == signal.SIGINT or handler is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """While entered, `asked` says whether a signal has come. What is ignored stays so (nohup, say).

    Only the main thread of a process gets signals; elsewhere nothing is ever asked.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._heed)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, a signal raises KeyboardInterrupt where it arrives: for work that leaves nothing behind."""
        self._at_once = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def _heed(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        for other in self._before:  # a second one ends the process here and now, whatever it is doing
            signal.signal(other, signal.SIG_DFL)
        if self._at_once:
            raise KeyboardInterrupt
        print("\nkinema: stopping after this step; once more to end at once", file=sys.stderr)
