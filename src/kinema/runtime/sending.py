"""How the guard's actions reach the robot: one a control step, or targets between them at its own rate."""

from __future__ import annotations

import numpy as np

from kinema.runtime.clock import Clock
from kinema.runtime.interpolate import Interpolation
from kinema.runtime.robot import Body


class Sender:
    """Sends to one body. `begin` first, `send` once a control step, `between_until` while it waits.

    command_hz: how often the robot takes a target; None, or no more often than the card's rate: once a step
    """

    def __init__(self, body: Body, clock: Clock, command_hz: float | None) -> None:
        self._body, self._clock, self._period_s = body, clock, 1.0 / body.card.control_hz
        between = Interpolation(body.card, command_hz) if command_hz else None
        self._between = between if between and between.targets > 1 else None
        self._action = np.empty(0)
        self._sent_s = 0.0
        self._next = 1  # the next of a period's targets

    def begin(self, action: np.ndarray) -> None:
        """Send where the body stands (D,)."""
        self._action = action
        if self._between is not None:
            self._between.anchor(action)
        self._body.send(action)

    def send(self, action: np.ndarray) -> np.ndarray:
        """Send the guard's action (D,), at once or by the first target on the way there.

        What the robot says it took; with targets between, the action itself. Raises what the driver raises.
        """
        self._action, self._sent_s = action, self._clock.now_s()
        if self._between is None:
            return self._body.send(action)
        self._between.push(action)
        self._next = 2
        self._body.send(self._between.at(1 / self._between.targets))
        return action.copy()

    def between_until(self, end_s: float) -> str:
        """Send the targets that are due before `end_s`. What went wrong, in words; "" when nothing did."""
        if self._between is None:
            return ""
        count = self._between.targets
        while self._next <= count:
            due_s = self._sent_s + (self._next - 1) * self._period_s / count
            if not due_s < end_s - 1e-6:
                break
            self._clock.sleep_until(due_s)
            try:
                self._body.send(self._between.at(self._next / count))
            except OSError as error:
                return f"{self._body.card.name} takes no command: {error}"
            self._next += 1
        return ""

    def finish(self) -> None:
        """Bring the targets to the last action: the last command is that action."""
        if self._between is None:
            return
        for _ in range(2):
            if self._between.at_rest:
                break
            self.send(self._action)
            end_s = self._clock.now_s() + self._period_s
            self.between_until(end_s)
            self._clock.sleep_until(end_s)
        self._body.send(self._action)
