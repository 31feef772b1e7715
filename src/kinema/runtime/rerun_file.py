"""One run as a rerun recording (.rrd): every camera, every channel, the words, on one time line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kinema.runtime.report import RunTrace
from kinema.schema import KinemaError


def write_rerun(path: Path, trace: RunTrace, frames: Mapping[str, np.ndarray]) -> None:
    """Write `path`; `frames` are uint8 (N, H, W, 3) by camera name, one per control step of the trace.

    Raises ModuleNotFoundError without rerun-sdk (extra `view`), KinemaError when the disk is full.
    """
    import rerun as rr

    recording = rr.RecordingStream("kinema", make_default=False)
    recording.save(str(path))
    words = (
        f"# {trace.instruction}\n\n{trace.prompt}\n\n**{trace.outcome.result.value}**: {trace.outcome.cause}"
    )
    recording.log("words", rr.TextDocument(words, media_type=rr.MediaType.MARKDOWN), static=True)
    for step, time_s in enumerate(trace.times_s):
        recording.set_time("time", duration=float(time_s))
        for camera, pictures in frames.items():
            recording.log(f"camera/{camera}", rr.Image(pictures[step]).compress(jpeg_quality=92))
        for channel, value in zip(trace.card.actions, trace.actions[step]):
            recording.log(f"action/{channel.name}", rr.Scalars(float(value)))
        for channel, value in zip(trace.card.states, trace.states[step]):
            recording.log(f"state/{channel.name}", rr.Scalars(float(value)))
    try:
        recording.flush()
    except RuntimeError as error:  # rerun's writer thread says no more than that it ended
        raise KinemaError(f"{path} could not be written (is the disk full?): {error}") from error
    recording.disconnect()
