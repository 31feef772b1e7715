"""Ctrl-C and SIGTERM end a run at its next step, not in the middle of a packet to a motor.

While `gently` holds, the first signal is only noted, in `asked`; a second one interrupts. Everywhere else a
signal interrupts at once, as Ctrl-C does in any program.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

import typer

HANDLED = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """A context manager that takes both signals over and gives them back at the end."""

    def __init__(self) -> None:
        self.signal: int | None = None  # the last one that came
        self._gentle, self._noted = False, 0
        self._before: dict[int, object] = {}

    @property
    def asked(self) -> bool:
        """Whether somebody wants the run to end."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it."""
        return 128 + (self.signal or signal.SIGINT)

    @contextmanager
    def gently(self, word: str) -> Iterator[None]:
        """What runs in here looks at `asked` by itself. `word` is printed when the first signal comes."""
        before = self._gentle, self._noted
        self._gentle, self._noted, self._word = True, 0, word
        try:
            yield
        finally:
            self._gentle, self._noted = before

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread do this
            self._before = {each: signal.signal(each, self._came) for each in HANDLED}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]
        if isinstance(error, KeyboardInterrupt) and self.signal == signal.SIGTERM:
            raise typer.Exit(self.exit_code) from None

    def _came(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._noted += 1
        if self._gentle and self._noted == 1:
            print(f"kinema: {self._word}", file=sys.stderr, flush=True)
            return
        raise KeyboardInterrupt
