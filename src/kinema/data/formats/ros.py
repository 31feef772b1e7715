"""ROS bags, of ROS 1 and 2 and bare MCAP files: one bag an episode, every topic with times of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.formats.ros_messages import IMAGES, TEXT, numbers, picture, picture_shape, stamp_ns
from kinema.data.formats.source import ForeignSource, Series, camera, vector
from kinema.data.metadata import Features
from kinema.data.optional import library
from kinema.schema import KinemaError

SUFFIXES = (".bag", ".mcap", ".db3")
_SENTENCES = ("instruction", "language_instruction", "task")  # last parts of topics that carry it
_SAME_CLOCK_S = 1.0  # a header's stamp farther from the time of recording is of another clock


class Bags(ForeignSource):
    """Columns and cameras are called as their topics, without the leading slash.

    A joint state's velocity and effort are columns `TOPIC.velocity` and `TOPIC.effort`.
    """

    rate_hz = None

    def __init__(self, root: Path, rate_hz: float | None) -> None:
        if rate_hz is not None:
            raise KinemaError(f"{root}: messages carry their own times; leave --rate out")
        self.root = root
        self._bags = bags_below(root)
        self._last: tuple[int, Bag] | None = None
        self.features: Features = self[0].features

    def __len__(self) -> int:
        return len(self._bags)

    def __getitem__(self, number: int) -> Bag:
        if self._last is None or self._last[0] != number:  # what it has read is asked for again
            self._last = number, Bag(self._bags[number])
        return self._last[1]


class Bag:
    """One bag. Its numbers are read in one pass when one is asked for; pictures as they are asked for."""

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, path.name

    @cached_property
    def features(self) -> Features:
        """By the first message of each topic."""
        features: dict[str, Any] = {}
        with self._opened() as reader:
            for connection in _known(reader):
                topic = connection.topic.lstrip("/")
                first = next(reader.messages([connection]), None)
                if first is None or topic in features or connection.msgtype == TEXT:
                    continue
                message = reader.deserialize(first[2], connection.msgtype)
                if connection.msgtype in IMAGES:
                    height, width, channels = picture_shape(message, f"{self._path}: {topic}")
                    features[topic] = camera(height, width) | {"shape": [height, width, channels]}
                    continue
                for part, values in numbers(message).items():
                    name = f"{topic}.{part}" if part else topic
                    if values:
                        features[name] = vector(len(values), list(values))
        return features

    @property
    def task(self) -> str:
        return self._read[1]

    def column(self, name: str) -> Series:
        if name not in self._read[0]:
            raise KinemaError(f"{self._path} has no message of {name!r}; it has {sorted(self._read[0])}")
        return self._read[0][name]

    def frame_times(self, camera: str) -> np.ndarray:
        return self._shots(camera)[0]

    def frames(self, camera: str, indices: np.ndarray) -> np.ndarray:
        _, recorded_ns = self._shots(camera)
        wanted = recorded_ns[np.asarray(indices)]
        found: dict[int, np.ndarray] = {}
        with self._opened() as reader:
            cameras = [c for c in _known(reader) if c.topic.lstrip("/") == camera]
            span = {"start": int(wanted.min()), "stop": int(wanted.max()) + 1}
            for connection, at_ns, raw in reader.messages(cameras, **span):
                if at_ns in wanted:
                    where = f"{self._path}: {camera} at {at_ns / 1e9:.3f} s"
                    found[at_ns] = picture(reader.deserialize(raw, connection.msgtype), where)
        return np.stack([found[at_ns] for at_ns in wanted.tolist()])

    @cached_property
    def _read(self) -> tuple[dict[str, Series], str]:
        """All columns of numbers, and the first sentence."""
        rows: dict[str, list[tuple[int, int, dict[str, float]]]] = {}
        task = ""
        with self._opened() as reader:
            chosen = [c for c in _known(reader) if c.msgtype not in IMAGES]
            for connection, at_ns, raw in reader.messages(chosen) if chosen else ():
                message, topic = reader.deserialize(raw, connection.msgtype), connection.topic.lstrip("/")
                if connection.msgtype == TEXT:
                    task = task or (message.data if topic.split("/")[-1] in _SENTENCES else "")
                    continue
                for part, values in numbers(message).items():
                    name = f"{topic}.{part}" if part else topic
                    rows.setdefault(name, []).append((at_ns, stamp_ns(message), values))
            start_ns = reader.start_time
        return {name: _series(of_topic, start_ns) for name, of_topic in rows.items()}, task

    def _shots(self, camera: str) -> tuple[np.ndarray, np.ndarray]:
        """When a camera's pictures were taken [s], ascending, and when they were recorded [ns]."""
        if camera not in self._shot:
            with self._opened() as reader:
                cameras = [c for c in _known(reader) if c.topic.lstrip("/") == camera]
                if not cameras:
                    raise KinemaError(f"{self._path} has no camera {camera!r}")
                recorded_ns, stamped_ns = (
                    np.array(
                        [
                            (at_ns, stamp_ns(reader.deserialize(raw, connection.msgtype)))
                            for connection, at_ns, raw in reader.messages(cameras)
                        ],
                        np.int64,
                    )
                    .reshape(-1, 2)
                    .T
                )
                times_s = _times_s(recorded_ns, stamped_ns, reader.start_time)
            order = np.argsort(times_s, kind="stable")
            self._shot[camera] = times_s[order], recorded_ns[order]
        return self._shot[camera]

    @cached_property
    def _shot(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {}

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The bag's reader. Raises KinemaError when it cannot be read, here or on the way."""
        rosbags = library("rosbags.highlevel", "ros", "ROS bags")
        types = library("rosbags.typesys", "ros", "ROS bags")
        try:
            usual = types.get_typestore(types.Stores.LATEST)
            with rosbags.AnyReader([self._path], default_typestore=usual) as reader:
                yield reader
        except KinemaError:
            raise
        except Exception as error:  # rosbags' own, sqlite's, msgpack's: whatever a damaged bag ends in
            raise KinemaError(
                f"{self._path} is not a readable bag: {type(error).__name__}: {error}"
            ) from None


def _known(reader: Any) -> list[Any]:
    """The connections whose message types the bag describes."""
    return [c for c in reader.connections if c.msgtype in reader.typestore.fielddefs]


def _series(rows: list[tuple[int, int, dict[str, float]]], start_ns: int) -> Series:
    """Rows of the channels that any message names; what one does not name is as it was before.

    Rows before all channels were told once are left out.
    """
    names = list(dict.fromkeys(name for _, _, values in rows for name in values))
    values, last = np.full((len(rows), len(names)), np.nan), np.full(len(names), np.nan)
    at = {name: i for i, name in enumerate(names)}
    for row, (_, _, told) in enumerate(rows):
        for name, value in told.items():
            last[at[name]] = value
        values[row] = last
    times_s = _times_s(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), start_ns)
    told_at = np.flatnonzero(np.isfinite(values).all(1))
    order = told_at[np.argsort(times_s[told_at], kind="stable")]
    return Series(times_s=times_s[order], values=values[order])


def _times_s(recorded_ns: np.ndarray, stamped_ns: np.ndarray, start_ns: int) -> np.ndarray:
    """The messages' own times where all have one of the recorder's clock, else when they were recorded."""
    off_ns = np.median(stamped_ns - recorded_ns) if len(recorded_ns) and (stamped_ns > 0).all() else np.inf
    return ((stamped_ns if abs(off_ns) < _SAME_CLOCK_S * 1e9 else recorded_ns) - start_ns) / 1e9


def bags_below(root: Path) -> list[Path]:
    """The bags of a folder, or the bag itself: files, and folders with a metadata.yaml, by name."""
    if root.is_file() or (root / "metadata.yaml").is_file():
        return [root]
    folders = {path.parent for path in root.rglob("metadata.yaml")}
    files = {p for p in root.rglob("*") if p.suffix in SUFFIXES and p.parent not in folders}
    found = sorted(path for path in folders | files if not path.name.startswith("."))
    if not found:
        raise KinemaError(f"{root} holds no bag ({', '.join(SUFFIXES)})")
    return found
