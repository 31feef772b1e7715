"""meta/info.json, strictly: an error names the file, the key and the value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kinema.data.metadata import INFO, KEYS, NUMBERS, OTHERS, PICTURES
from kinema.schema import KinemaError

READABLE = "v3.0, v2.1, v2.0"
_PLACES = ("chunk_index", "file_index", "episode_chunk", "episode_index", "video_key")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class _Feature(_Strict):
    dtype: str
    shape: list[Annotated[int, Field(ge=1, le=2**31)]]
    names: list[Any] | dict[str, Any] | None = None
    info: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_known(self) -> _Feature:
        known = (*PICTURES, *NUMBERS, *OTHERS)
        if self.dtype not in known:
            raise ValueError(f"dtype {self.dtype!r} is unknown; choices: {', '.join(known)}")
        if self.dtype in PICTURES and len(self.shape) != 3:
            raise ValueError(f"a camera's shape has three numbers, got {self.shape}")
        return self


class _Info(_Strict):
    """The keys that a reader relies on; others are kept as they are."""

    codebase_version: str
    robot_type: str | None = None
    fps: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]
    total_episodes: Annotated[int, Field(ge=0)]
    total_frames: Annotated[int, Field(ge=0)] = 0
    total_tasks: Annotated[int, Field(ge=0)] = 0
    chunks_size: Annotated[int, Field(ge=1)] = 1000
    data_path: str
    video_path: str | None = None
    features: dict[str, _Feature]

    @field_validator("features")
    @classmethod
    def _are_complete(cls, features: dict[str, _Feature]) -> dict[str, _Feature]:
        lacking = [key for key in KEYS if key not in features]
        if lacking:
            raise ValueError(f"{', '.join(lacking)} is missing; every data set has {', '.join(KEYS)}")
        for name, feature in features.items():
            if "/" in name or name in ("", ".", ".."):
                raise ValueError(f"{name!r} cannot be a feature's name")
            if name in KEYS and (feature.dtype not in NUMBERS or feature.shape not in ([], [1])):
                raise ValueError(f"{name} is one number a row; got {feature.dtype} {feature.shape}")
        return features

    @model_validator(mode="after")
    def _have_places(self) -> _Info:
        place_of(self.data_path, dict.fromkeys(_PLACES, 0))
        videos = [name for name, feature in self.features.items() if feature.dtype == "video"]
        if videos and self.video_path is None:
            raise ValueError(f"video_path is missing, but {videos[0]} is a video")
        for name in videos:
            place_of(self.video_path or "", dict.fromkeys(_PLACES, 0) | {"video_key": name})
        return self


def read_info(root: Path) -> dict[str, Any]:
    """meta/info.json, checked. Raises KinemaError naming file, key and value."""
    path = root / INFO
    if not root.is_dir():
        raise KinemaError(f"{root} is not a folder; expected a LeRobot data set")
    if not path.is_file():
        raise KinemaError(f"{path} is missing: {root} is not a LeRobot data set ({READABLE})")
    info = read_json(path)
    version = info.get("codebase_version")
    if isinstance(version, str) and not is_known(version):
        raise KinemaError(f"{path}: unknown version {version!r}; readable: {READABLE}")
    try:
        _Info.model_validate(info)
    except ValidationError as error:
        raise KinemaError(f"{path}: {_told(error)}") from None
    return info


def is_known(version: str) -> bool:
    return version.startswith("v3.") or version in ("v2.1", "v2.0")


def read_json(path: Path) -> dict[str, Any]:
    value = parse_json(read_text(path), str(path))
    if not isinstance(value, dict):
        raise KinemaError(f"{path} must hold a JSON object; got {type(value).__name__}")
    return value


def parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KinemaError(f"{where} is not valid JSON (truncated?): {error}") from None


def read_text(path: Path) -> str:
    """A text file, with or without a byte order mark."""
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise KinemaError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        raise KinemaError(f"{path} is not text in UTF-8: {error}") from None
    except OSError as error:
        raise KinemaError(f"{path} cannot be read: {error.strerror}") from error


M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], value: Any, where: str) -> M:
    """`value` as `model`. Raises KinemaError naming place, key and value."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise KinemaError(f"{where}: {_told(error)}") from None


def place_of(template: str, place: Mapping[str, int | str]) -> str:
    """A file's path below the data set. Raises ValueError unless it is one that stays there."""
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
        unknown = [name for name in names if name not in place]
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} is unknown; choices: {', '.join(place)}")
        path = template.format(**place)
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"the path {template!r} cannot be used: {error}") from None
    parts = PurePosixPath(path)
    if not path or "\0" in path or parts.is_absolute() or ".." in parts.parts or str(parts) == ".":
        raise ValueError(f"the path {template!r} leads out of the data set ({path!r})")
    return str(parts)


def _told(error: ValidationError) -> str:
    """The first faults of a file, each with its key and value."""
    told = []
    for fault in error.errors(include_url=False)[:3]:
        key = ".".join(map(str, fault["loc"]))
        value = "" if fault["type"] == "missing" or not key else f" is {_short(fault['input'])}"
        told.append(f"{key}{value}: {fault['msg'].removeprefix('Value error, ')}".removeprefix(": "))
    return "; ".join(told)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
