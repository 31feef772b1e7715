"""What a format gives: episodes of columns with their times, and pictures with theirs.

Axes: T rows, n numbers of a row, P pictures, k pictures asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kinema.data.metadata import Features
from kinema.schema import KinemaError


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """Rows as they were recorded: when (T,), ascending, in seconds, and what (T, n)."""

    times_s: np.ndarray
    values: np.ndarray


class Episode(Protocol):
    """One episode; nothing of it is read before it is asked for. All its times are of one clock."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def task(self) -> str:
        """The instruction; empty where the format has none."""

    def column(self, name: str) -> Series: ...

    def frame_times(self, camera: str) -> np.ndarray:
        """When each of a camera's pictures was taken (P,), ascending, in seconds."""

    def frames(self, camera: str, indices: np.ndarray) -> np.ndarray:
        """uint8 (k, H, W, 3)"""


class Source(Protocol):
    """Recordings of one body. Names are the format's own; cameras and columns of numbers are features.

    robot_type: None where the format cannot say it
    cameras: the feature of each by its name
    rate_hz: of the rows; None where every row has its own time
    """

    @property
    def root(self) -> Path: ...
    @property
    def robot_type(self) -> str | None: ...
    @property
    def rate_hz(self) -> float | None: ...
    @property
    def features(self) -> Features: ...
    @property
    def cameras(self) -> Mapping[str, str]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> Episode: ...


class ForeignSource:
    """What formats have in common that do not say the robot, and whose features are called as they are."""

    robot_type: str | None = None
    features: Features

    @property
    def cameras(self) -> dict[str, str]:
        return {name: name for name, feature in self.features.items() if feature["dtype"] == "video"}


def vector(width: int, names: Sequence[str] = (), name: str = "") -> dict[str, Any]:
    """A column's feature. Channels without names are called NAME.0, NAME.1, …"""
    own = list(names) or ([name] if width == 1 else [f"{name}.{i}" for i in range(width)])
    return {"dtype": "float32", "shape": [width], "names": own}


def camera(height: int, width: int) -> dict[str, Any]:
    return {"dtype": "video", "shape": [height, width, 3], "names": ["height", "width", "channels"]}


def steady(rows: int, rate_hz: float) -> np.ndarray:
    """The times (T,) of rows at one rate."""
    return np.arange(rows) / rate_hz


def stated_rate(root: Path, kind: str, rate_hz: float | None, own_hz: float | None = None) -> float:
    """The rate of a format without times: its own, or what the user says where it has none.

    Raises KinemaError where neither says it, or both say another.
    """
    if own_hz is None and rate_hz is None:
        raise KinemaError(
            f"{root}: {kind} do not say their rate; say --rate HZ, the rows recorded per second"
        )
    if own_hz is not None and rate_hz is not None and abs(own_hz / rate_hz - 1) > 2e-3:
        raise KinemaError(f"{root} was recorded at {own_hz:g} Hz, not {rate_hz:g}; leave --rate out")
    return own_hz or rate_hz or 0.0


def image_of(encoded: bytes, where: str) -> np.ndarray:
    """uint8 (H, W, 3) of a JPEG, PNG or the like. Raises KinemaError naming where it is."""
    import io

    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise KinemaError(f"{where}: not a readable picture: {error}") from None
