"""What a person wants now, whatever they say it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import numpy as np

Said = Literal["take over", "hand back", "success", "failure", "discard", "end", "other arm"]
SAID: tuple[Said, ...] = get_args(Said)


def _still() -> np.ndarray:
    return np.zeros(6)


@dataclass(frozen=True, kw_only=True)
class Intent:
    """twist:   (6,) of the tool or the base in the robot's frame, of full speed each: -1 to 1
    grip:    of full speed, too: 1 opens the hand, -1 closes it
    targets: (D,) native actions outright, from an arm that is led; then twist and grip say nothing
    said:    what was said since the last reading, in order
    """

    twist: np.ndarray = field(default_factory=_still)
    grip: float = 0.0
    targets: np.ndarray | None = None
    said: tuple[Said, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether the body is to move."""
        return bool(np.any(self.twist)) or self.grip != 0.0


class Device(Protocol):
    """What a person holds."""

    help: str  # a line or more: what does what

    def read(self, now_s: float) -> Intent:
        """Never waits. Raises OSError when the device is gone."""
        ...

    def close(self) -> None: ...


class Together:
    """Two devices as one: an arm that is led has no keys, so a keyboard says the rest."""

    def __init__(self, moving: Device, saying: Device) -> None:
        self._moving, self._saying = moving, saying
        self.help = f"{moving.help}\n{saying.help}"

    def read(self, now_s: float) -> Intent:
        moved, said = self._moving.read(now_s), self._saying.read(now_s)
        return Intent(
            twist=moved.twist, grip=moved.grip, targets=moved.targets, said=(*moved.said, *said.said)
        )

    def close(self) -> None:
        try:
            self._moving.close()
        finally:
            self._saying.close()
