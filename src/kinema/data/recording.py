"""What a recording of a body holds: its features, and whether an episode fits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.data import schema_v30 as v30
from kinema.data.fits import compare
from kinema.data.metadata import (
    ACTION,
    EXECUTED,
    IMAGE_PREFIX,
    INTERVENTION,
    POINTS,
    STATE,
    SUCCESS,
    Metadata,
)  # fmt: skip
from kinema.data.set_map import AS_IT_IS
from kinema.schema import KinemaError, check_instruction

Features = dict[str, dict[str, Any]]
ImageSize = int | tuple[int, int] | Mapping[str, int | tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A body, the size of its pictures and extra columns with their channels' names.

    image_size: the side of square pictures, or (height, width), in pixels; of all cameras, or by camera
    """

    card: EmbodimentCard
    image_size: ImageSize
    extra: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        bad = [n for n in self.extra if "/" in n or n in v30.DEFAULT_FEATURES or not self.extra[n]]
        if bad:
            raise KinemaError(f"extra features {bad}: need channel names, no '/', and no reserved name")

    def columns(
        self, images: Mapping[str, np.ndarray], vectors: Mapping[str, np.ndarray], task: str
    ) -> dict[str, np.ndarray]:
        """The vector columns as float32 (T, n) (success as bool), after checking that everything fits."""
        check_instruction(task)  # training refuses the same, and then it would be too late
        length = len(vectors[STATE])
        if not length:
            raise KinemaError("an episode needs at least one frame")
        if set(images) != set(self.card.camera_names):
            raise KinemaError(f"images must be of the cameras {self.card.camera_names}; got {sorted(images)}")
        for name, frames in images.items():
            shape = (length, *self.shape(name))
            if frames.dtype != np.uint8 or frames.shape != shape:
                raise KinemaError(f"camera {name!r}: need uint8 {shape}; got {frames.dtype} {frames.shape}")
        columns = {}
        for name, values in vectors.items():
            values = np.asarray(values, bool if name in _BOOLS else np.float32)
            if len(values) != length:
                raise KinemaError(f"{name}: {len(values)} rows, but state has {length}")
            columns[name] = values.reshape(length, -1)
            if not np.isfinite(columns[name]).all():
                row = int(np.flatnonzero(~np.isfinite(columns[name]).all(1))[0])
                raise KinemaError(f"{name}: non-finite value in frame {row}")
        return columns

    def shape(self, camera: str) -> tuple[int, int, int]:
        """(height, width, 3) of this camera's pictures."""
        size = self.image_size[camera] if isinstance(self.image_size, Mapping) else self.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return height, width, 3

    def features(self, columns: Mapping[str, np.ndarray]) -> Features:
        """The features that a data set declares whose first episode has these columns."""
        actions = [channel.name for channel in self.card.actions]
        names: dict[str, Sequence[str]] = {ACTION: actions, EXECUTED: actions}
        names[STATE] = [channel.name for channel in self.card.states]
        units = {name: [channel.unit for channel in self.card.actions] for name in (ACTION, EXECUTED)}
        units[STATE] = [channel.unit for channel in self.card.states]
        names[SUCCESS] = ["success"]
        if POINTS in columns:
            names[POINTS] = _point_names(self.card.camera_names, columns[POINTS].shape[1])
        names |= self.extra
        features: dict[str, dict[str, Any]] = {
            IMAGE_PREFIX + camera: {
                "dtype": "video",
                "shape": list(self.shape(camera)),
                "names": ["height", "width", "channels"],
            }
            for camera in self.card.camera_names
        }
        for name in (STATE, ACTION, EXECUTED, POINTS, SUCCESS, *self.extra):
            if name in columns or name in self.extra:
                dtype = "bool" if name in _BOOLS else "float32"
                features[name] = {"dtype": dtype, "shape": [len(names[name])], "names": list(names[name])}
                if name in units:
                    features[name]["units"] = units[name]
        return features | v30.DEFAULT_FEATURES

    def check_continues(self, there: Metadata) -> None:
        """Raise KinemaError unless the data set `there` is of this body, rate, size and set of features."""
        features = there.features
        for finding in compare(there, self.card, AS_IT_IS).findings:
            if finding.verdict != "same":  # what is recorded goes beside what is there, as it is
                raise KinemaError(f"{there.root} cannot be resumed: {finding}")
        if there.fps != self.card.control_hz:
            raise KinemaError(
                f"{there.root} cannot be resumed: it has {there.fps:g} frames/s, not {self.card.control_hz:g}"
            )
        cameras = [IMAGE_PREFIX + name for name in self.card.camera_names]
        expected: dict[str, tuple[object, object]] = {
            "extra features": (
                sorted(set(features) - set(v30.DEFAULT_FEATURES) - _KNOWN - set(cameras)),
                sorted(self.extra),
            ),
        }
        for name, key in zip(self.card.camera_names, cameras):
            size = list(self.shape(name))
            expected[f"size of {key}"] = (list(features.get(key, {}).get("shape", [])), size)
        for what, (old, new) in expected.items():
            if old != new:
                raise KinemaError(f"{there.root} cannot be resumed: its {what} is {old!r}, not {new!r}")


def check_fits(columns: Mapping[str, np.ndarray], features: Features) -> None:
    """Raise KinemaError unless an episode has exactly the columns and channels that are declared."""
    lacking, unknown = set(vectors_of(features)) - set(columns), set(columns) - set(features)
    if lacking or unknown:
        raise KinemaError(
            f"missing {sorted(lacking)}, unexpected {sorted(unknown)}; "
            f"this data set records {sorted(vectors_of(features))}"
        )
    for name, values in columns.items():
        if values.shape[1] != features[name]["shape"][0]:
            raise KinemaError(
                f"{name}: {values.shape[1]} channels, need {features[name]['shape'][0]} "
                f"({features[name]['names']})"
            )


def vectors_of(features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The features that a recorder hands over as numbers."""
    return [n for n, f in features.items() if f["dtype"] != "video" and n not in v30.DEFAULT_FEATURES]


_KNOWN = {STATE, ACTION, EXECUTED, POINTS, SUCCESS}
_BOOLS = {SUCCESS, INTERVENTION}


def _point_names(cameras: Sequence[str], channels: int) -> list[str]:
    per_camera, rest = divmod(channels, 3 * len(cameras))
    if rest or not per_camera:
        raise KinemaError(f"points must be (T, V={len(cameras)}, P, 3); got {channels} values per frame")
    return [f"{c}.{p}.{part}" for c in cameras for p in range(per_camera) for part in ("u", "v", "visible")]
