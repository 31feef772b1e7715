"""A terminal's keys. It tells presses alone, so a key counts as held until its repeats stop coming."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from kinema.runtime.teleop.intent import Intent, Said
from kinema.schema import KinemaError

HELD_S = 0.15  # after a press; repeats come every 30 to 50 ms, the first after more
_MOST_BYTES = 4096
_TWISTS: Mapping[str, tuple[int, float]] = {
    "w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1),
    "u": (3, 1), "o": (3, -1), "i": (4, 1), "k": (4, -1), "j": (5, 1), "l": (5, -1),
}  # fmt: skip
_GRIPS: Mapping[str, float] = {"e": 1.0, "q": -1.0}
_SAYS: Mapping[str, Said] = {
    "\t": "other arm", " ": "take over", "b": "hand back", "\r": "success", "\n": "success", "x": "failure",
    "\x7f": "discard", "\x1b": "end",
}  # fmt: skip
HELP = (
    "w s forward, back; a d left, right; r f up, down; u o, i k, j l turn about x, y, z; e q open, close\n"
    "space take over, b hand back, tab other arm; Enter success, x failure, backspace discard, Esc end"
)


class Keyboard:
    """Keys of the terminal that this was started in, one at a time as they come. A context manager."""

    help = HELP

    def __init__(self, stream: IO[Any] | int | None = None) -> None:
        """stream: what is read instead, or its file number. Raises KinemaError without a terminal."""
        stream = sys.stdin if stream is None else stream
        self._file = stream if isinstance(stream, int) else stream.fileno()
        self._before: list[Any] | None = None
        self._held: dict[str, float] = {}  # until when, by key
        self._in_raw_mode()

    def _in_raw_mode(self) -> None:
        try:
            import termios
            import tty
        except ImportError:
            raise KinemaError("keys are read from a terminal of Linux or macOS; there is none here") from None
        if not os.isatty(self._file):
            raise KinemaError("keys are read from a terminal, and this is none; start it in one")
        self._before = termios.tcgetattr(self._file)
        tty.setcbreak(self._file)

    def read(self, now_s: float) -> Intent:
        keys = self._pressed()
        for key in keys:
            if key in _TWISTS or key in _GRIPS:
                self._held[key] = now_s + HELD_S
        held = [key for key, until_s in self._held.items() if now_s < until_s]
        twist = np.zeros(6)
        for key in held:
            if key in _TWISTS:
                axis, way = _TWISTS[key]
                twist[axis] += way
        grip = sum(_GRIPS.get(key, 0.0) for key in held)
        return Intent(twist=twist, grip=grip, said=tuple(_SAYS[key] for key in keys if key in _SAYS))

    def _pressed(self) -> list[str]:
        """What lies there, and no more. Arrow keys and the like begin as Esc does and are left out."""
        if not select.select([self._file], [], [], 0)[0]:
            return []
        found = os.read(self._file, _MOST_BYTES)
        if not found:
            raise OSError("the terminal was closed")
        text = found.decode("ascii", errors="ignore")
        if text != "\x1b":
            while "\x1b[" in text or "\x1bO" in text:
                at = min(i for i in (text.find("\x1b["), text.find("\x1bO")) if i >= 0)
                end = at + 2
                while end < len(text) and not text[end].isalpha() and text[end] != "~":
                    end += 1
                text = text[:at] + text[end + 1 :]
        return [key.lower() for key in text]

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._before is not None:
            import termios

            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
            self._before = None
