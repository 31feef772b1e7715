"""What a data set says about itself, in one form for every version on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.schema import KinemaError

INFO = "meta/info.json"
STATS = "meta/stats.json"
IMAGE_PREFIX = "observation.images."
STATE, ACTION, EXECUTED = "observation.state", "action", "action.executed"
POINTS, SUCCESS = "annotation.points", "next.success"

Features = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Where an episode lies in a camera's video file."""

    path: str  # relative to the data set's folder
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One row of the episode table. `first_row` is its first frame's index in the whole data set."""

    index: int
    length: int
    tasks: tuple[str, ...]
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
    episodes: tuple[EpisodeRecord, ...]
    info: Mapping[str, Any]  # info.json as it is

    @property
    def camera_keys(self) -> tuple[str, ...]:
        return camera_keys(self.features)


def camera_keys(features: Features) -> tuple[str, ...]:
    """Names of the features that are pictures, in the order of info.json."""
    return tuple(name for name, f in features.items() if f["dtype"] in ("video", "image"))


def vector_keys(features: Features) -> tuple[str, ...]:
    """Names of the numeric features with at most one axis (what parquet holds as numbers or lists)."""
    return tuple(
        name
        for name, f in features.items()
        if f["dtype"] not in ("video", "image", "string", "language", "audio") and len(f["shape"]) <= 1
    )


def read_info(root: Path) -> dict[str, Any]:
    """meta/info.json, checked for the keys every reader needs. Raises KinemaError naming file and fault."""
    path = root / INFO
    if not root.is_dir():
        raise KinemaError(f"{root} is not a folder; expected a LeRobot data set")
    if not path.is_file():
        raise KinemaError(f"{path} is missing: {root} is not a LeRobot data set (v3.0 or v2.1)")
    info = read_json(path)
    lacking = [key for key in ("codebase_version", "fps", "features", "data_path") if key not in info]
    if lacking:
        raise KinemaError(f"{path} lacks {lacking}; it is foreign or truncated")
    if not isinstance(info["fps"], int | float) or not info["fps"] > 0:
        raise KinemaError(f"{path}: fps must be a positive number; got {info['fps']!r}")
    for name, feature in info["features"].items():
        if not isinstance(feature, dict) or "dtype" not in feature or "shape" not in feature:
            raise KinemaError(f"{path}: feature {name!r} must have dtype and shape; got {feature!r}")
    return info


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise KinemaError(f"{path} is not valid JSON (truncated?): {error}") from error
    except OSError as error:
        raise KinemaError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(value, dict):
        raise KinemaError(f"{path} must hold a JSON object; got {type(value).__name__}")
    return value
