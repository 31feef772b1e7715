"""What the control loop did, as a LeRobot data set: asked, sent, judged, how late, and when.

It composes the runtime, which may not know data sets, with their writer, which may not know the runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.commands.data.spool import Spool
from kinema.data.journal import HIDDEN
from kinema.data.lerobot_write import Writer
from kinema.data.metadata import INTERVENTION
from kinema.data.recording import ImageSize, Recording
from kinema.runtime.record import Step
from kinema.runtime.watchdog import Mode
from kinema.schema import KinemaError

STEP, VERDICT, SUCCESS = "runtime.step", "runtime.verdict", "runtime.success"
# fresh: an action of the plan was played; changed: the guard altered it; sensed: the reading did not fail and
# was finite; time_s: when the step was, from the first one; repeated: the frame shows the step before again
STEP_CHANNELS = ("fresh", "changed", "sensed", "latency_s", "age_s", "time_s", "repeated")
LONGEST_PAUSE_S = 10.0  # a longer one is not filled with frames


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What became of an episode: frames in the data set, of how many steps, and at which rate those came."""

    frames: int
    steps: int
    measured_hz: float


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One step without its pictures; those are number `picture` of the spool."""

    time_s: float
    state: np.ndarray
    asked: np.ndarray
    sent: np.ndarray
    step: tuple[float, ...]
    verdict: tuple[float, ...]
    picture: int
    by_person: bool


class EpisodeRecorder:
    """Hand it to the control loop; `finish` writes the episode, `discard` forgets it.

    Columns beside LeRobot's own: `action` is what the plan asked for (what was sent, where it asked for
    nothing), `action.executed` what was sent, `runtime.step` and `runtime.verdict` what the names say, and
    `runtime.success` whether somebody knew how the episode ended, and how. Steps at which nothing was sent,
    because the body was stopped, are not frames.

    Frames stand at the card's rate, as the steps really came: a body that was slower shows a step in several
    frames (`repeated`), so that motion has the speed it had.

    Pictures wait on the disk until the episode is finished. A full disk ends the recording, not the run.

    image_size: of the pictures kept, see `Recording`
    hazards:    those that a gate judges
    by_person:  whether a person may act, too; `intervention` then says at which steps one did
    """

    def __init__(
        self,
        root: Path,
        card: EmbodimentCard,
        *,
        image_size: ImageSize,
        hazards: Sequence[str] = (),
        by_person: bool = False,
        resume: bool = False,
    ) -> None:
        self._card, self._hazards = card, tuple(hazards)
        verdict = ("given", "allowed", "horizon_s", *(f"risk.{hazard}" for hazard in self._hazards))
        features = {STEP: STEP_CHANNELS, VERDICT: verdict, SUCCESS: ("known", "success")}
        if by_person:
            features[INTERVENTION] = ("by_person",)
        self._by_person = by_person
        self._writer = Writer(root, card=card, image_size=image_size, features=features, resume=resume)
        recording = Recording(card=card, image_size=image_size, extra={})
        shapes = {name: recording.shape(name) for name in card.camera_names}
        self._spool = Spool(root / HIDDEN / "spool", shapes)
        self._rows: list[_Row] = []
        self.fault = ""  # why recording ended before the run did

    @property
    def steps(self) -> int:
        """Of the episode so far."""
        return len(self._rows)

    def __call__(self, step: Step) -> None:
        if step.sent is None or self.fault:
            return
        picture = len(self._spool)
        try:
            self._spool.add(step.observation.images)
        except OSError as error:
            self.fault = f"recording ended after {self.steps} steps: {error.strerror or error}"
            return
        self._rows.append(
            _Row(
                time_s=step.time_s,
                state=np.array(step.observation.state, np.float32),
                asked=np.array(step.sent if _unusable(step.asked) else step.asked, float),
                sent=np.array(step.sent, float),
                step=_step_row(step),
                verdict=self._verdict_row(step),
                picture=picture,
                by_person=step.by_person,
            )
        )

    def finish(self, instruction: str, success: bool | None) -> Kept:
        """Write the episode; it is on the disk when this returns. Raises KinemaError when it was empty.

        success: None where nobody knows
        """
        steps = self._rows
        if not steps:
            raise KinemaError("nothing was sent in this episode; there is nothing to record")
        with np.errstate(invalid="ignore"):  # a clock may say anything; what is not finite counts for no time
            times_s = np.array([row.time_s for row in steps]) - steps[0].time_s
        shown = shown_steps(times_s, self._card.control_hz)
        rows = [steps[i] for i in shown]
        repeated = np.concatenate([[False], np.diff(shown) == 0])
        step = np.array([(*row.step, t, again) for row, t, again in zip(rows, times_s[shown], repeated)])
        verdict = np.array([row.verdict for row in rows])
        known = np.tile([float(success is not None), float(bool(success))], (len(rows), 1))
        extra = {STEP: _last_finite(step), VERDICT: _last_finite(verdict), SUCCESS: known}
        if self._by_person:
            extra[INTERVENTION] = np.array([[row.by_person] for row in rows])
        pictures: dict[str, Any] = {
            name: self._spool.pictures(name, np.array([row.picture for row in rows]))
            for name in self._card.camera_names
        }
        self._writer.add_episode(
            images=pictures,
            state=_last_finite(np.stack([row.state for row in rows])),
            action=_last_finite(np.stack([row.asked for row in rows])),
            executed=_last_finite(np.stack([row.sent for row in rows])),
            task=instruction,
            extra=extra,
        )
        self.discard()
        span_s = float(times_s[-1])
        measured_hz = (len(steps) - 1) / span_s if span_s > 0 else self._card.control_hz
        return Kept(frames=len(rows), steps=len(steps), measured_hz=measured_hz)

    def discard(self) -> None:
        self._rows, self.fault = [], ""
        self._spool.clear()

    def __enter__(self) -> EpisodeRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()
        if kind is None:
            self._writer.finalize()
        self._writer.close()

    def _verdict_row(self, step: Step) -> tuple[float, ...]:
        verdict = step.verdict
        if verdict is None:
            return (0.0, 1.0, 0.0, *(0.0 for _ in self._hazards))
        risks = (float(verdict.risk.get(hazard, 0.0)) for hazard in self._hazards)
        return (1.0, float(verdict.allowed), verdict.horizon_s, *risks)


def shown_steps(times_s: np.ndarray, hz: float) -> np.ndarray:
    """Which step (F,) each frame at `hz` shows, for steps at ascending times (T,) from 0.

    The nearest frame shows a step, and those up to the next step show it again; of several steps nearest to
    one frame the last is shown. A pause counts for no more than LONGEST_PAUSE_S.
    """
    with np.errstate(invalid="ignore"):
        waits_s = np.diff(times_s, prepend=times_s[:1])
    waits_s = np.clip(np.nan_to_num(waits_s), 0.0, LONGEST_PAUSE_S)
    slots = np.rint(np.cumsum(waits_s) * hz).astype(int)
    return np.searchsorted(slots, np.arange(slots[-1] + 1), side="right") - 1


def _step_row(step: Step) -> tuple[float, ...]:
    fresh = step.mode == Mode.RUNNING
    return (
        float(fresh),
        float(fresh and bool(step.changes)),
        float(step.seen and np.isfinite(step.observation.state).all()),
        step.latency_s or 0.0,
        step.age_s or 0.0,
    )


def _unusable(asked: np.ndarray | None) -> bool:
    return asked is None or not np.isfinite(asked).all()


def _last_finite(values: np.ndarray) -> np.ndarray:
    """Values (T, n); one that is not finite becomes the last one before it, 0 where there is none.

    What a sensor, a driver or a server said wrongly must not cost the episode.
    """
    filled = values.copy()
    for t in range(len(filled)):
        bad = ~np.isfinite(filled[t])
        filled[t, bad] = filled[t - 1, bad] if t else 0.0
    return filled
