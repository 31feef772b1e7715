"""What a data set says about itself, in one form for every version on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INFO = "meta/info.json"
STATS = "meta/stats.json"
IMAGE_PREFIX = "observation.images."
STATE, ACTION, EXECUTED = "observation.state", "action", "action.executed"
POINTS, SUCCESS = "annotation.points", "next.success"
INTERVENTION = "intervention"  # whether a person had the body at this step, as lerobot's own recorder says it

# Columns that every data set has.
KEYS = ("episode_index", "frame_index", "index", "task_index", "timestamp")
PICTURES = ("video", "image")
NUMBERS = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
)  # fmt: skip
OTHERS = ("string", "language", "audio")

Features = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Where an episode lies in a camera's video file."""

    path: str  # relative to the data set's folder
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One row of the episode table. `first_row` is its first frame's index in the whole data set.

    tasks: None where the table does not say (the rows do)
    """

    index: int
    length: int
    tasks: tuple[str, ...] | None
    data_path: str
    first_row: int
    clips: Mapping[str, Clip]  # by feature name (observation.images.<camera>)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    root: Path
    version: str
    robot_type: str | None
    fps: float
    features: Features
    tasks: tuple[str, ...]  # position is the task's number
    episodes: Sequence[EpisodeRecord]
    info: Mapping[str, Any]  # info.json as it is

    @property
    def camera_keys(self) -> tuple[str, ...]:
        return camera_keys(self.features)


def camera_keys(features: Features) -> tuple[str, ...]:
    """Names of the features that are pictures, in the order of info.json."""
    return tuple(name for name, f in features.items() if f["dtype"] in PICTURES)


def video_keys(features: Features) -> tuple[str, ...]:
    """Names of the features whose pictures are in video files."""
    return tuple(name for name, f in features.items() if f["dtype"] == "video")


def number_keys(features: Features) -> tuple[str, ...]:
    """Names of the numeric features, with any number of axes."""
    return tuple(name for name, f in features.items() if f["dtype"] in NUMBERS)


def vector_keys(features: Features) -> tuple[str, ...]:
    """Names of the numeric features with at most one axis: those kept in memory."""
    return tuple(name for name in number_keys(features) if len(features[name]["shape"]) <= 1)


def width_of(feature: Mapping[str, Any]) -> int:
    """How many numbers a row of this feature holds."""
    width = 1
    for size in feature["shape"]:
        width *= size
    return width


def camera_names(features: Features) -> dict[str, str]:
    """The short name of each camera, by feature: what follows `observation.images.` or `observation.`."""
    keys = camera_keys(features)
    short = {key: key.removeprefix(IMAGE_PREFIX).removeprefix("observation.") for key in keys}
    return short if len(set(short.values())) == len(keys) else {key: key for key in keys}


def channel_names(feature: Mapping[str, Any]) -> list[str]:
    """Names of a feature's channels; their numbers where it names none.

    Writers nest names in lists and mappings: all of [a, b], [[a, b]], {motors: [a, b]} and {a: 0, b: 1} are
    the two channels a and b.
    """
    width = width_of(feature)
    if feature["dtype"] in PICTURES:
        return ["red", "green", "blue"] if picture_shape(feature)[2] == 3 else ["value"]
    names = list(_leaves(feature.get("names")))
    return names if len(names) == width else [str(i) for i in range(width)]


def _leaves(names: Any) -> Iterator[str]:
    if isinstance(names, str):
        yield names
    elif isinstance(names, Mapping):
        for name, below in names.items():
            inner = list(_leaves(below))
            yield from inner or [str(name)]
    elif isinstance(names, list | tuple):
        for below in names:
            yield from _leaves(below)


_CHANNELS = {"channel", "channels", "c"}


def picture_shape(feature: Mapping[str, Any]) -> tuple[int, int, int]:
    """Height, width and channels of a camera: by the names of its axes, else by where the 1 or 3 stands."""
    shape, names = list(feature["shape"]), feature.get("names")
    axes = [str(name).lower() for name in names] if isinstance(names, list) and len(names) == 3 else []
    found = [i for i, name in enumerate(axes) if name in _CHANNELS]
    at = found[0] if found else 2
    if shape[at] not in (1, 3, 4) and shape[0] in (1, 3):  # some writers name the axes in the wrong order
        at = 0
    rest = [size for i, size in enumerate(shape) if i != at]
    if axes and [a for i, a in enumerate(axes) if i != at] == ["width", "height"]:
        rest.reverse()
    return rest[0], rest[1], shape[at]


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Whether a camera gives distances instead of colours, by what info.json says of it."""
    info = feature.get("info") or {}
    said = any(info.get(key) is True for key in ("is_depth_map", "video.is_depth_map"))
    return said or picture_shape(feature)[2] == 1
