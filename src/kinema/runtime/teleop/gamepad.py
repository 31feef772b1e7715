"""A gamepad by Linux's own joystick interface: eight bytes an event, no library.

Sticks and triggers are held where they are; an event says when one changes. Numbers are those of the kernel's
`xpad` driver (Xbox pads and most that pretend to be one).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kinema.runtime.teleop.intent import Intent, Said
from kinema.schema import KinemaError

DEFAULT = Path("/dev/input/js0")
_EVENT = struct.Struct("<IhBB")  # time [ms], value, kind, number
_BUTTON, _AXIS, _INITIAL = 0x01, 0x02, 0x80
_DEAD = 0.12  # of a stick's way, about its middle
_MOST_EVENTS = 512  # a reading; the rest waits
# left stick: forward and left; right stick: turn about z, and up; pad: turn about y and x; triggers: the hand
_TWISTS: Mapping[int, tuple[int, float]] = {
    1: (0, -1), 0: (1, -1), 4: (2, -1), 3: (5, -1), 7: (4, -1), 6: (3, 1),
}  # fmt: skip
_OPENS, _CLOSES = 5, 2  # the triggers rest at -1
_SAYS: Mapping[int, Said] = {
    0: "success", 1: "failure", 2: "discard", 3: "hand back", 4: "other arm", 5: "take over", 7: "end",
}  # fmt: skip
HELP = (
    "left stick forward, back, left, right; right stick up, down, turn; pad turn; triggers close, open\n"
    "RB take over, Y hand back, LB other arm; A success, B failure, X discard, Start end"
)


class Gamepad:
    """The pad behind a device file."""

    help = HELP

    def __init__(self, path: Path = DEFAULT) -> None:
        """Raises KinemaError where there is none."""
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise KinemaError(
                f"no gamepad at {path}: {error.strerror}; name another as gamepad:PATH"
            ) from None
        self._path, self._rest = path, b""
        self._axes: dict[int, float] = {}

    def read(self, now_s: float) -> Intent:
        said: list[Said] = []
        for value, kind, number in self._events():
            if kind & _AXIS:
                self._axes[number] = max(-1.0, value / 32767)
            elif kind == _BUTTON and value and number in _SAYS:  # how buttons stood at first says nothing
                said.append(_SAYS[number])
        twist = np.zeros(6)
        for number, (axis, way) in _TWISTS.items():
            twist[axis] += way * _lively(self._axes.get(number, 0.0))
        opens, closes = (_lively((self._axes.get(number, -1.0) + 1) / 2) for number in (_OPENS, _CLOSES))
        return Intent(twist=twist, grip=opens - closes, said=tuple(said))

    def _events(self) -> list[tuple[int, int, int]]:
        try:
            found = os.read(self._file, _MOST_EVENTS * _EVENT.size)
        except BlockingIOError:
            return []
        except OSError as error:
            raise OSError(f"the gamepad at {self._path} is gone: {error.strerror}") from error
        if not found:
            raise OSError(f"the gamepad at {self._path} is gone")
        whole = self._rest + found
        count = len(whole) // _EVENT.size
        self._rest = whole[count * _EVENT.size :]
        events = _EVENT.iter_unpack(whole[: count * _EVENT.size])
        return [(value, kind, number) for _, value, kind, number in events]

    def close(self) -> None:
        os.close(self._file)


def _lively(value: float) -> float:
    """Nothing about the middle, then from 0 to 1 without a step."""
    beyond = max(0.0, abs(value) - _DEAD) / (1 - _DEAD)
    return beyond if value > 0 else -beyond
