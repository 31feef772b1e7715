"""What the control loop did, as a LeRobot data set: asked, sent, judged, and how late.

It composes the runtime, which may not know data sets, with their writer, which may not know the runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.data.lerobot_write import Writer
from kinema.data.picture import resize
from kinema.runtime.record import Step
from kinema.runtime.watchdog import Mode
from kinema.schema import KinemaError

IMAGE_SIZE_PX = 128  # of the pictures kept, as in demonstrations
STEP, VERDICT = "runtime.step", "runtime.verdict"
# fresh: an action of the plan was played; changed: the guard altered it; sensed: the readings were finite
STEP_CHANNELS = ("fresh", "changed", "sensed", "latency_s", "age_s")


class EpisodeRecorder:
    """Hand it to the control loop; `finish` writes the episode, `discard` forgets it.

    Columns beside LeRobot's own: `action` is what the plan asked for (what was sent, where it asked for
    nothing), `action.executed` what was sent, `runtime.step` and `runtime.verdict` what the names say. Steps
    at which nothing was sent, because the body was stopped, are not frames.

    hazards: those that a gate judges
    """

    def __init__(
        self,
        root: Path,
        card: EmbodimentCard,
        *,
        image_size: int,
        hazards: Sequence[str] = (),
        resume: bool = False,
    ) -> None:
        self._card, self._image_size, self._hazards = card, image_size, tuple(hazards)
        verdict = ("given", "allowed", "horizon_s", *(f"risk.{hazard}" for hazard in self._hazards))
        features = {STEP: STEP_CHANNELS, VERDICT: verdict}
        self._writer = Writer(root, card=card, image_size=image_size, features=features, resume=resume)
        self._steps: list[Step] = []

    def __call__(self, step: Step) -> None:
        if step.sent is not None:
            self._steps.append(step)

    def finish(self, instruction: str, success: bool) -> None:
        """Write the episode; it is on the disk when this returns. Raises KinemaError when it was empty."""
        steps, self._steps = self._steps, []
        if not steps:
            raise KinemaError("nothing was sent in this episode; there is nothing to record")
        ended = np.zeros(len(steps), bool)
        ended[-1] = success
        self._writer.add_episode(
            images={
                name: np.stack([resize(s.observation.images[name], self._image_size) for s in steps])
                for name in self._card.camera_names
            },
            state=_last_finite(np.stack([s.observation.state for s in steps])),
            action=np.stack([_sent(s) if s.asked is None else s.asked for s in steps]),
            executed=np.stack([_sent(s) for s in steps]),
            task=instruction,
            success=ended,
            extra={
                STEP: np.array([_step_row(s) for s in steps]),
                VERDICT: np.array([self._verdict_row(s) for s in steps]),
            },
        )

    def discard(self) -> None:
        self._steps = []

    def __enter__(self) -> EpisodeRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._writer.finalize()
        self._writer.close()

    def _verdict_row(self, step: Step) -> list[float]:
        verdict = step.verdict
        if verdict is None:
            return [0.0, 1.0, 0.0, *(0.0 for _ in self._hazards)]
        risks = [float(verdict.risk.get(hazard, 0.0)) for hazard in self._hazards]
        return [1.0, float(verdict.allowed), verdict.horizon_s, *risks]


def _step_row(step: Step) -> list[float]:
    fresh = step.mode == Mode.RUNNING
    return [
        float(fresh),
        float(fresh and bool(step.changes)),
        float(np.isfinite(step.observation.state).all()),
        step.latency_s or 0.0,
        step.age_s or 0.0,
    ]


def _sent(step: Step) -> np.ndarray:
    assert step.sent is not None
    return step.sent


def _last_finite(states: np.ndarray) -> np.ndarray:
    """States (T, S); a reading that is not finite becomes the last one before it, 0 where there is none."""
    filled = states.copy()
    for t in range(len(filled)):
        bad = ~np.isfinite(filled[t])
        filled[t, bad] = filled[t - 1, bad] if t else 0.0
    return filled
