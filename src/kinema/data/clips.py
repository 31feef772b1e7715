"""Clips: what world models learn from. A few frames of all cameras at equal intervals, and the sentence.

A clip begins at any frame of an episode, so that the model also learns to go on; past the episode's end the
last frame is held, as a robot that has finished holds still.

Axes: n clips, F frames, V views, S image side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.data.captions import read_captions
from kinema.data.fits import films_fit, open_set
from kinema.data.frames import Way, images_of
from kinema.data.lerobot import Dataset
from kinema.data.set_map import set_map_of
from kinema.schema import Captions, Film, KinemaError
from kinema.space.clip_shape import ClipShape

Part = Literal["train", "validation"]
KEPT_BACK_EVERY = 20  # one episode in so many is never trained on


class Films(Protocol):
    """Films by number, all of one length: what a video code learns from."""

    @property
    def name(self) -> str: ...
    @property
    def views(self) -> int: ...

    def __len__(self) -> int: ...

    def frames(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (n, F, V, S, S, 3)."""
        ...


class ClipSource:
    """All clips of one data set; how their pictures are read is the user's (`frames.py`)."""

    def __init__(
        self, dataset: Dataset, card: EmbodimentCard, shape: ClipShape, *, part: Part = "train",
        begin_every: int = 4, cameras: Mapping[str, str] | None = None, pictures: Way = "cache",
    ) -> None:  # fmt: skip
        """Clips begin at every episode's start and every so many steps after, while enough is left to see.

        cameras: which of the data set's shows what a camera of the card does; None: those of the same name,
        or what `kinema.yaml` in its folder says. Raises KinemaError where the data set does not fit the card.
        """
        ratio, shown = films_fit(dataset, card, cameras)
        self.name, self.card, self.shape, self.cameras = dataset.root.name, card, shape, tuple(shown)
        self._frames = images_of(dataset, pictures, size=shape.size, cameras=tuple(shown.values()))
        self._every = shape.every * ratio  # of the set's frames, from one picture of a clip to the next
        self.starts = clip_starts(dataset, shape, part, begin_every, ratio)
        self.episode = dataset.episode_index[self.starts]
        self._end = dataset.episode_bounds[self.episode, 1]
        self._task = dataset.task_index[self.starts]
        self.tasks: Sequence[str] = dataset.tasks
        self._captions = read_captions(dataset.root)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def views(self) -> int:
        return len(self.cameras)

    def frames(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (n, F, V, S, S, 3) of the clips with these numbers."""
        steps = self.starts[rows][:, None] + np.rint(self._every * np.arange(self.shape.frames)).astype(int)
        steps = np.minimum(steps, self._end[rows][:, None] - 1)
        return self._frames(steps.ravel()).reshape(*steps.shape, self.views, *(self.shape.size,) * 2, 3)

    def instructions(self, rows: np.ndarray) -> list[str]:
        return [self.tasks[task] for task in self._task[rows]]

    def captions(self, rows: np.ndarray) -> list[Captions | None]:
        """The captions of these clips' whole episodes; None where the set holds none."""
        return [self._captions.get(int(episode)) for episode in self.episode[rows]]

    def film(self, row: int) -> Film:
        return Film(
            frames=self.frames(np.array([row]))[0],
            cameras=self.cameras,
            fps=self.shape.fps(self.card.control_hz),
            card=self.card.name,
            instruction=self.instructions(np.array([row]))[0],
        )


def clip_starts(
    dataset: Dataset, shape: ClipShape, part: Part, begin_every: int, ratio: float = 1.0
) -> np.ndarray:
    """int64 (n,): every episode's start and every so many steps after, while enough is left to see.

    ratio: the data set's frames for each control step
    """
    begin_every, left = max(round(begin_every * ratio), 1), 2 * shape.every * ratio
    begin, end = dataset.episode_bounds[dataset.episode_index].T
    step = np.arange(dataset.num_frames)
    inside = ((step - begin) % begin_every == 0) & ((step == begin) | (end - step > left))
    kept_back = dataset.episode_index % KEPT_BACK_EVERY == KEPT_BACK_EVERY - 1
    return np.flatnonzero(inside & (kept_back if part == "validation" else ~kept_back))


def side_by_side(frames: np.ndarray) -> np.ndarray:
    """Views (..., V, S, S, 3) as one canvas (..., S, V * S, 3)."""
    *lead, V, S, width, channels = frames.shape
    return np.moveaxis(frames, -4, -3).reshape(*lead, S, V * width, channels)


def apart(canvas: np.ndarray, views: int) -> np.ndarray:
    """A canvas (..., S, V * S, 3) as its views (..., V, S, S, 3): what undoes `side_by_side`."""
    *lead, S, width, channels = canvas.shape
    if width % views:
        raise KinemaError(f"a canvas {width} px wide does not hold {views} views of equal width")
    return np.moveaxis(canvas.reshape(*lead, S, views, width // views, channels), -3, -4)


def open_clips(
    folders: Sequence[Path], cards: Mapping[str, EmbodimentCard], shape: ClipShape, part: Part = "train",
    pictures: Way = "cache",
) -> list[ClipSource]:  # fmt: skip
    """Clips of several data sets. `cards` names the bodies wanted; data sets of others are left out."""
    sources = []
    for folder in folders:
        dataset = open_set(folder)
        name = set_map_of(folder).card or dataset.card_name
        if name in cards:
            sources.append(ClipSource(dataset, cards[name], shape, part=part, pictures=pictures))
    if not sources:
        raise KinemaError(f"no clips of {sorted(cards)} in {[str(folder) for folder in folders]}")
    return sources


def check_clips(sources: Sequence[Films]) -> None:
    """Raise KinemaError where there is nothing to learn from."""
    if not sum(map(len, sources)):
        names = ", ".join(sorted({source.name for source in sources}))
        raise KinemaError(
            f"no clips of {names}: one episode of {KEPT_BACK_EVERY} is kept back for judging, so at least "
            f"so many are needed"
        )
