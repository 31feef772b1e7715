"""What one control step was: what was seen, asked, allowed and sent. Whoever keeps it is handed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinema.runtime.watchdog import Mode
from kinema.schema import Observation, Verdict


@dataclass(frozen=True, kw_only=True)
class Step:
    """asked: (D,) what the plan said, None where it said nothing; sent: (D,) what the robot says it took,
    None once it is stopped and stands, and where the robot took nothing.

    verdict:   of the chunk in play, None where no gate was asked or no chunk is in play
    latency_s: how long the policy took for that chunk, None where no chunk is in play
    age_s:     from the observation behind the action to the time at which it is due, likewise
    reason:    why the body holds or stopped, empty while it runs
    changes:   what the guard changed
    seen:      whether the observation is of this step; otherwise the reading failed and it is the one before
    by_person: whether a person said what was asked, not the policy
    """

    time_s: float
    observation: Observation
    asked: np.ndarray | None
    sent: np.ndarray | None
    mode: Mode
    verdict: Verdict | None
    latency_s: float | None
    age_s: float | None
    reason: str = ""
    changes: tuple[str, ...] = ()
    seen: bool = True
    by_person: bool = False


Recorder = Callable[[Step], None]


class Log:
    """A recorder that keeps every step in memory."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __call__(self, step: Step) -> None:
        self.steps.append(step)
