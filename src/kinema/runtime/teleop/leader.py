"""An arm that is led, through lerobot's teleoperators: its numbers are the follower's own commands.

lerobot gives leader and follower the same keys and units, each by its own calibration, so the follower's
wiring says what they are on the card.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.runtime.teleop.intent import Intent
from kinema.runtime.wiring import Wiring
from kinema.schema import KinemaError


class Teleoperator(Protocol):
    """The members of lerobot's teleoperators that are used."""

    @property
    def action_features(self) -> Mapping[str, Any]: ...

    @property
    def is_connected(self) -> bool: ...

    def connect(self, calibrate: bool = True) -> None: ...

    def get_action(self) -> Mapping[str, Any]: ...

    def disconnect(self) -> None: ...


class Leader:
    """Native targets from a teleoperator that reports the follower's keys."""

    help = "lead the arm by hand"

    def __init__(self, card: EmbodimentCard, teleoperator: Teleoperator, wiring: Wiring) -> None:
        """Raises KinemaError when it lacks one of the follower's keys; connects it without calibrating."""
        self._teleoperator = teleoperator
        self._wires = [wiring.actions[channel.name] for channel in card.actions]
        keys = [wire.key for wire in self._wires]
        if lacking := sorted(set(keys) - set(teleoperator.action_features)):
            raise KinemaError(
                f"{_name(teleoperator)} does not say {', '.join(lacking)}, which {card.name} is moved by; it "
                f"says {', '.join(sorted(teleoperator.action_features))}"
            )
        if not teleoperator.is_connected:
            teleoperator.connect(calibrate=False)

    def read(self, now_s: float) -> Intent:
        """Raises OSError when it cannot be read, or says what is no number."""
        try:
            told = self._teleoperator.get_action()
            values = [float(told[wire.key]) for wire in self._wires]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise OSError(f"{_name(self._teleoperator)} cannot be read: {error}") from error
        if not np.isfinite(values).all():
            raise OSError(f"{_name(self._teleoperator)} says {values}")
        return Intent(targets=np.array([wire.native(value) for wire, value in zip(self._wires, values)]))

    def close(self) -> None:
        if self._teleoperator.is_connected:
            self._teleoperator.disconnect()


def _name(teleoperator: Teleoperator) -> str:
    return str(getattr(teleoperator, "name", None) or type(teleoperator).__name__)
