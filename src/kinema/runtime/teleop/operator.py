"""Who decides at this step: the person, once they have taken over, or whoever else drives the body."""

from __future__ import annotations

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.runtime.teleop.intent import Device, Intent, Said
from kinema.runtime.teleop.jog import Jog
from kinema.schema import KinemaError


class Operator:
    """A person with a device, as the control loop asks them. They keep the body until they hand it back.

    Whoever moves the device has taken over, without saying so; an arm that is led moves always, so there it
    must be said. engaged: whether they have the body now
    """

    def __init__(
        self, card: EmbodimentCard, device: Device, jog: Jog | None, *, engaged: bool = True
    ) -> None:
        """jog: None for a device that gives targets itself; engaged: from the beginning of every episode"""
        self.device = device
        self._card, self._jog, self._begins_engaged = card, jog, engaged
        self.begin()

    def begin(self) -> None:
        """Another episode."""
        self.engaged = self._begins_engaged
        self.ending: Said | None = None  # success, failure, discard or end, once it was said
        self._anchored = False

    def act(self, state: np.ndarray, now_s: float) -> np.ndarray | None:
        """The native action (D,) of a person who has the body, None where they do not.

        state: (S,) in the card's order. Raises OSError when the device is gone and was in charge.
        """
        try:
            intent = self.device.read(now_s)
        except OSError:
            if self.engaged:
                raise
            return None  # nobody was moving it; whoever does goes on
        for said in intent.said:
            self._hear(said)
        if intent.moves:
            self.engaged = True
        if not self.engaged:
            self._anchored = False
            return None
        return self._wanted(intent, state)

    def _hear(self, said: Said) -> None:
        if said == "take over":
            self.engaged = True
        elif said == "hand back":
            self.engaged = False
        elif said == "other arm":
            if self._jog is not None:
                self._jog.other_arm()
        else:
            self.ending = self.ending or said

    def _wanted(self, intent: Intent, state: np.ndarray) -> np.ndarray:
        if intent.targets is not None:
            return intent.targets
        if self._jog is None:
            raise KinemaError(f"the device gives {self._card.name} no targets and nothing makes them")
        if not self._anchored:
            self._jog.anchor(state)
            self._anchored = True
        return self._jog.move(intent, state)
