"""Work that test workers import: numbers are squared, and some of them do harm."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from kinema.schema import KinemaError


class TwoWordError(KinemaError):
    """One that pickle cannot make again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


@dataclass(frozen=True, kw_only=True)
class Squaring:
    """notes: a folder where workers write who did what; unfit: what the worker says instead of beginning"""

    notes: str
    unfit: str = ""
    reads: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> tuple[str, ...]:
        return self.reads

    def moved(self, places: Mapping[str, str]) -> Squaring:
        return replace(self, places=places)

    def begin(self) -> Squarer:
        if self.unfit:
            raise KinemaError(self.unfit)
        return Squarer(self)


class Squarer:
    def __init__(self, squaring: Squaring) -> None:
        self._notes, self._squaring = Path(squaring.notes), squaring
        self.said: Mapping[str, Any] = {"worker": os.getpid()}

    def do(self, item: tuple[str, int]) -> Any:
        what, number = item
        again = self.note(f"{what}{number}") > 1
        if what == "die" or (what == "die once" and not again):
            os.kill(os.getpid(), 9)
        if what == "hang":
            time.sleep(600)
        if what == "refuse":
            raise KinemaError(f"{number} is refused")
        if what == "refuse oddly":
            raise TwoWordError(str(number), "more")
        if what == "crash":
            raise ZeroDivisionError(f"{number} broke")
        if what == "read":
            path = self._squaring.reads[number]
            return Path(self._squaring.places.get(path, path)).read_text()
        if what == "where":
            return os.getpid()
        return number**2

    def note(self, name: str) -> int:
        """How often this was done, with this time; two workers who note it at once are counted as two."""
        for times in count():
            with suppress(FileExistsError):
                (self._notes / f"{name}.{times}").touch(exist_ok=False)
                return times + 1
        raise AssertionError("never reached")

    def close(self) -> None:
        self.note("close")
