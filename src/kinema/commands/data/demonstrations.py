"""What is retargeted: episodes of a hand's set, whose path is known, or a plain film, whose path is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.worlds.hand.retarget import GraspPath

_SIDE_PX, _STEPS = (16, 256), (5, 600)  # what a plain film may measure, after it is thinned to control steps


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One demonstration. Pictures are uint8 (T, S, S, 3) by view; path is None where it must be tracked."""

    human: Mapping[str, np.ndarray]
    empty: Mapping[str, np.ndarray]
    instruction: str
    family: str
    path: GraspPath | None = None
    seed: int | None = None
    truth: Mapping[str, np.ndarray] | None = None  # the robot in the scene, where the set holds this body


def aligned_episodes(root: Path, robot: str, count: int) -> Iterator[Shown]:
    """The first episodes of an aligned set."""
    from kinema.data.aligned import HAND, SCENE, camera_name, views_of
    from kinema.data.lerobot import Dataset
    from kinema.worlds.hand.retarget import GraspPath
    from kinema.worlds.hand.stage import FAMILIES

    dataset = Dataset.open(root)
    views = views_of(dataset)
    for begin, end in dataset.episode_bounds[:count]:
        steps = np.arange(begin, end)
        streams = {
            stream: {view: dataset.frames(camera_name(stream, view), steps) for view in views}
            for stream in ("human", "empty", "robot")
        }
        hand, (seed, family) = dataset.column(HAND)[begin:end].astype(float), dataset.column(SCENE)[begin]
        yield Shown(
            human=streams["human"],
            empty=streams["empty"],
            instruction=dataset.tasks[int(dataset.task_index[begin])],
            family=FAMILIES[int(family)],
            path=GraspPath(
                position_m=hand[:, :3], opening=hand[:, 3], gap_m=hand[:, 4], hz=float(dataset.fps)
            ),
            seed=int(seed),
            truth=streams["robot"] if dataset.card_name == robot else None,
        )


def plain_film(path: Path, instruction: str, hz: float) -> Shown:
    """A film whose path is not known, one picture per control step: the median over time has no hand.

    Raises KinemaError, before a picture is decoded, for a film of another shape, rate or length.
    """
    from kinema.data.video import Decoders, probe
    from kinema.worlds.hand.stage import VIEWS
    from kinema.worlds.hand.track import background

    stream = probe(path)
    side = stream.height
    if stream.width != 2 * side or not _SIDE_PX[0] <= side <= _SIDE_PX[1]:
        raise KinemaError(
            f"{path} is {stream.width} x {side} px; a hand is tracked in two square views side by side, "
            f"{' | '.join(VIEWS)}, of {_SIDE_PX[0]} to {_SIDE_PX[1]} px each"
        )
    film = Decoders()[path].at(_control_steps(path, stream.times_s, hz), tolerance_s=0.01)
    human = {view: film[:, :, i * side : (i + 1) * side] for i, view in enumerate(VIEWS)}
    empty = {view: np.repeat(background(frames)[None], len(frames), 0) for view, frames in human.items()}
    return Shown(human=human, empty=empty, instruction=instruction, family="button")


def _control_steps(path: Path, times_s: np.ndarray, hz: float) -> np.ndarray:
    """When the pictures nearest to every control step are shown (T,). Raises KinemaError."""
    lasts_s = float(np.ptp(times_s)) if len(times_s) else 0.0
    steps = 1 + round(lasts_s * hz)
    if not _STEPS[0] <= steps <= _STEPS[1] or len(times_s) < 0.95 * steps:
        raise KinemaError(
            f"{path} has {len(times_s)} pictures in {lasts_s:.1f} s; needed are {hz:g} or more per second, "
            f"as often as the robot acts, for {_STEPS[0] / hz:g} to {_STEPS[1] / hz:g} s"
        )
    due_s = times_s[0] + np.arange(steps) / hz
    return times_s[np.abs(times_s[None] - due_s[:, None]).argmin(1)]
