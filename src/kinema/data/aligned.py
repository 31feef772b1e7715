"""Sets whose cameras are aligned streams of one performance, and three-segment clips cut from them.

A clip's segments are what a scene-to-robot model is shown and asked for: the scene without the hand, the
robot alone, and the robot in the scene. Each is a film that begins with the picture that its code is read
beside (`model/world/scene2robot.py` says why); the performance begins with the second.

Axes: n clips, F frames, V views, S image side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.data.clips import ClipSource, Part, clip_starts
from kinema.data.frames import Images, Way, images_of
from kinema.data.lerobot import Dataset
from kinema.schema import KinemaError
from kinema.space.clip_shape import BACKGROUND, ClipShape

Segment = Literal["empty", "robot_alone", "robot"]
STREAMS = ("human", "empty", "robot_alone", "robot")
HAND, HAND_CHANNELS = "hand", ("x", "y", "z", "opening", "gap")
SCENE, SCENE_CHANNELS = "scene", ("seed", "family")
_BEGIN_EVERY = 4  # steps from one clip's beginning to the next


class SegmentClips:
    """One segment of all clips of a body's set; how their pictures are read is the user's (`frames.py`)."""

    def __init__(
        self, dataset: Dataset, segment: Segment, shape: ClipShape, part: Part = "train",
        pictures: Way = "cache",
    ) -> None:  # fmt: skip
        if segment not in get_args(Segment):
            raise KinemaError(f"unknown segment {segment!r}; choices: {', '.join(get_args(Segment))}")
        views = views_of(dataset)
        self.robot, self.segment, self.shape = dataset.card_name, segment, shape
        self._views = len(views)
        self._films = _films(dataset, segment, views, shape, pictures)
        # the scene's first picture is known before there is a robot; behind a robot alone there is nothing
        self._beside = None if segment == "robot_alone" else _films(dataset, "empty", views, shape, pictures)
        self._starts = clip_starts(dataset, shape, part, _BEGIN_EVERY)
        self._end = dataset.episode_bounds[dataset.episode_index[self._starts], 1]

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def name(self) -> str:
        return f"{self.robot} {self.segment}"

    @property
    def views(self) -> int:
        return self._views

    def frames(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (n, F, V, S, S, 3): what the code is read beside, then the performance."""
        starts = self._starts[rows]
        steps = starts[:, None] + self.shape.every * np.arange(self.shape.frames - 1)
        steps = np.minimum(steps, self._end[rows][:, None] - 1)
        film = self._films(steps.ravel()).reshape(*steps.shape, self.views, *(self.shape.size,) * 2, 3)
        beside = np.full_like(film[:, 0], BACKGROUND) if self._beside is None else self._beside(starts)
        return np.concatenate([beside[:, None], film], 1)


@dataclass(frozen=True, kw_only=True)
class AlignedClips:
    """The three segments of one body's set: the same row is the same clip in each."""

    scene: SegmentClips
    alone: SegmentClips
    robot: SegmentClips

    @property
    def body(self) -> str:
        return self.robot.robot

    def __len__(self) -> int:
        return len(self.robot)


def aligned_clips(
    dataset: Dataset, shape: ClipShape, part: Part = "train", pictures: Way = "cache"
) -> AlignedClips:
    """All clips of a body's set."""
    scene, alone, robot = (
        SegmentClips(dataset, segment, shape, part, pictures) for segment in get_args(Segment)
    )
    return AlignedClips(scene=scene, alone=alone, robot=robot)


def hand_clips(
    dataset: Dataset, card: EmbodimentCard, shape: ClipShape, part: Part = "train", pictures: Way = "cache"
) -> ClipSource:
    """Clips of the person who performs; they are the same in every body's set."""
    shown = {view: camera_name(STREAMS[0], view) for view in views_of(dataset)}
    return ClipSource(dataset, card, shape, part=part, cameras=shown, pictures=pictures)


def aligned_sets(data: Path) -> dict[str, Dataset]:
    """The sets of `kinema data make human` below a folder, by body. Raises KinemaError when there is none."""
    roots = [path.parent.parent for path in sorted(data.glob("*/meta/info.json"))]
    if not roots:
        raise KinemaError(
            f"no aligned streams below {data}; make them with: kinema data make human --out {data}"
        )
    found = [Dataset.open(root) for root in roots]
    return {dataset.card_name: dataset for dataset in found}


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


def _films(dataset: Dataset, stream: str, views: tuple[str, ...], shape: ClipShape, pictures: Way) -> Images:
    cameras = tuple(camera_name(stream, view) for view in views)
    return images_of(dataset, pictures, size=shape.size, cameras=cameras)
