"""A LeRobot set as ROS 2 bags in MCAP, one an episode, which `Bags` reads back the same.

`observation.state` and `action` become joint states on /observation/state and /action: positions by the
set's own channel names, in its own units (of a set of tool poses they are no joints). A camera NAME becomes
pictures on /NAME/image, PNG without loss, the task a sentence on /instruction. An episode has no date: it
begins one second into 1970, since a stamp of 0 says nothing.
"""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from kinema.data.formats.lerobot import LeRobot, Stretch
from kinema.data.metadata import channel_names
from kinema.data.optional import library
from kinema.schema import KinemaError

BEGIN_NS = 10**9
COLUMNS = ("observation.state", "action")
_JOINTS, _PICTURE, _TEXT = (
    "sensor_msgs/msg/JointState",
    "sensor_msgs/msg/CompressedImage",
    "std_msgs/msg/String",
)
_AT_ONCE = 64  # pictures that are decoded together


def write_bags(source: LeRobot, out: Path) -> int:
    """Write every episode to a folder of its own below `out`; how many. Each appears whole or not at all.

    Raises KinemaError where `out` holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise KinemaError(f"{out} is not empty; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    for number in range(len(source)):
        unfinished = out / f".episode_{number:06d}"
        rmtree(unfinished, ignore_errors=True)
        _Bag(source, source[number]).write(unfinished)
        unfinished.rename(out / f"episode_{number:06d}")
    return len(source)


class _Bag:
    """One episode on its way into a bag."""

    def __init__(self, source: LeRobot, episode: Stretch) -> None:
        types = library("rosbags.typesys", "ros", "ROS bags")
        self._bags = library("rosbags.rosbag2", "ros", "ROS bags")
        self._store = types.get_typestore(types.Stores.ROS2_JAZZY)
        self._source, self._episode = source, episode

    def write(self, folder: Path) -> None:
        plugin = self._bags.StoragePlugin.MCAP
        with self._bags.Writer(folder, version=9, storage_plugin=plugin) as writer:
            self._writer = writer
            if self._episode.task:
                self._put("/instruction", _TEXT, [(BEGIN_NS, self._make(_TEXT, data=self._episode.task))])
            for name in COLUMNS:
                if name in self._source.features:
                    self._column(name)
            for camera in self._source.cameras:
                self._camera(camera)

    def _column(self, name: str) -> None:
        series, names = self._episode.column(name), channel_names(self._source.features[name])
        none = np.zeros(0)
        rows = (
            (at_ns, self._make(
                _JOINTS, header=self._header(at_ns, ""), name=names, position=row.astype(np.float64),
                velocity=none, effort=none,
            ))
            for at_ns, row in zip(_nanoseconds(series.times_s), series.values)
        )  # fmt: skip
        self._put(f"/{name.replace('.', '/')}", _JOINTS, rows)

    def _camera(self, camera: str) -> None:
        at_ns = _nanoseconds(self._episode.frame_times(camera))

        def pictures() -> Any:
            for first in range(0, len(at_ns), _AT_ONCE):
                indices = np.arange(first, min(first + _AT_ONCE, len(at_ns)))
                for index, picture in zip(indices, self._episode.frames(camera, indices)):
                    yield at_ns[index], self._make(
                        _PICTURE, header=self._header(at_ns[index], camera), format="rgb8; png compressed",
                        data=np.frombuffer(_png(picture), np.uint8),
                    )  # fmt: skip

        self._put(f"/{camera}/image", _PICTURE, pictures())

    def _put(self, topic: str, kind: str, messages: Any) -> None:
        connection = self._writer.add_connection(topic, kind, typestore=self._store)
        for at_ns, message in messages:
            self._writer.write(connection, at_ns, self._store.serialize_cdr(message, kind))

    def _header(self, at_ns: int, frame: str) -> Any:
        stamp = self._make("builtin_interfaces/msg/Time", sec=at_ns // 10**9, nanosec=at_ns % 10**9)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def _make(self, kind: str, **fields: Any) -> Any:
        return self._store.types[kind](**fields)


def _nanoseconds(times_s: np.ndarray) -> list[int]:
    return [BEGIN_NS + round(1e9 * float(time_s)) for time_s in times_s]


def _png(picture: np.ndarray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
