"""Sets whose cameras are aligned streams of one performance, and three-segment clips cut from them.

Axes: N clips, F frames, V views, S image side. A clip's segments are what a scene-to-robot model is shown and
asked for: the scene without the hand, the robot alone, and the robot in the scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.data.lerobot import Dataset
from kinema.schema import KinemaError

STREAMS = ("human", "empty", "robot_alone", "robot")
SEGMENTS = ("empty", "robot_alone", "robot")
HAND, HAND_CHANNELS = "hand", ("x", "y", "z", "opening", "gap")
SCENE, SCENE_CHANNELS = "scene", ("seed", "family")


@dataclass(frozen=True, kw_only=True)
class AlignedClips:
    """frames: uint8 (N, 3, F, V, S, S, 3), segments in the order of SEGMENTS; one sentence and body each."""

    frames: np.ndarray
    instructions: tuple[str, ...]
    robots: tuple[str, ...]
    views: tuple[str, ...]
    fps: float

    def __post_init__(self) -> None:
        count = len(self.frames)
        if self.frames.dtype != np.uint8 or self.frames.ndim != 7 or self.frames.shape[1] != len(SEGMENTS):
            raise KinemaError(
                f"aligned clips need uint8 (N, {len(SEGMENTS)}, F, V, S, S, 3); got "
                f"{self.frames.dtype} {self.frames.shape}"
            )
        if not len(self.instructions) == len(self.robots) == count:
            raise KinemaError(
                f"{count} aligned clips have {len(self.instructions)} instructions, {len(self.robots)} bodies"
            )


def camera_name(stream: str, view: str) -> str:
    """The camera of an aligned data set that shows this stream from this view."""
    return f"{stream}_{view}"


def views_of(dataset: Dataset) -> tuple[str, ...]:
    """The views of an aligned data set. Raises KinemaError when it is not one."""
    prefix = camera_name(STREAMS[0], "")
    views = tuple(name.removeprefix(prefix) for name in dataset.camera_names if name.startswith(prefix))
    lacking = [c for s in STREAMS for v in views if (c := camera_name(s, v)) not in dataset.camera_names]
    if not views or lacking:
        raise KinemaError(
            f"{dataset.root} holds no aligned streams {', '.join(STREAMS)}; its cameras are "
            f"{', '.join(dataset.camera_names)} (make one with: kinema data make human)"
        )
    return views


def stream_frames(dataset: Dataset, stream: str, indices: np.ndarray) -> np.ndarray:
    """Pictures uint8 (n, V, S, S, 3) of one stream at the given frames."""
    views = views_of(dataset)
    return np.stack([dataset.frames(camera_name(stream, view), indices) for view in views], 1)


def clip_frames(
    dataset: Dataset, *, frames: int = 13, every: int = 3, starts_per_episode: int = 1
) -> np.ndarray:
    """Frame indices int64 (N, F): clips from each episode's start and from evenly spread later ones.

    Past an episode's end its last frame is held.
    """
    rows = []
    for begin, end in dataset.episode_bounds:
        latest = max(begin, end - 1 - (frames - 1) * every // 2)
        for start in np.unique(np.linspace(begin, latest, starts_per_episode).astype(np.int64)):
            rows.append(np.minimum(start + every * np.arange(frames), end - 1))
    return np.stack(rows)


def aligned_clips(
    roots: Sequence[Path],
    *,
    frames: int = 13,
    every: int = 3,
    starts_per_episode: int = 1,
    image_size: int | None = None,
) -> AlignedClips:
    """Three-segment clips of all these sets. image_size: the side to reduce to, which must divide theirs."""
    parts, instructions, robots, seen = [], [], [], {}
    for root in roots:
        dataset = Dataset.open(root)
        steps = clip_frames(dataset, frames=frames, every=every, starts_per_episode=starts_per_episode)
        seen[root] = (views_of(dataset), dataset.fps)
        shown = [stream_frames(dataset, segment, steps.ravel()) for segment in SEGMENTS]
        cut = np.stack([s.reshape(*steps.shape, *s.shape[1:]) for s in shown], 1)
        parts.append(cut if image_size is None else reduced(cut, image_size))
        instructions += [dataset.tasks[dataset.task_index[row[0]]] for row in steps]
        robots += [dataset.card_name] * len(steps)
    views, fps = _the_same(seen)
    return AlignedClips(
        frames=np.concatenate(parts),
        instructions=tuple(instructions),
        robots=tuple(robots),
        views=views,
        fps=fps / every,
    )


def reduced(pictures: np.ndarray, side: int) -> np.ndarray:
    """Pictures uint8 (..., S, S, 3) averaged down to `side`. Raises KinemaError unless it divides S."""
    size = pictures.shape[-2]
    if size % side:
        raise KinemaError(f"pictures of {size} px cannot be averaged to {side} px; choose a divisor")
    block = size // side
    shape = (*pictures.shape[:-3], side, block, side, block, 3)
    means = pictures.reshape(shape).astype(np.float32).mean((-4, -2))
    return (means + 0.5).astype(np.uint8)


def _the_same(seen: Mapping[Path, tuple[tuple[str, ...], float]]) -> tuple[tuple[str, ...], float]:
    if len(set(seen.values())) != 1:
        raise KinemaError(f"aligned sets must share views and rate; got {seen or 'no data set'}")
    return next(iter(seen.values()))
