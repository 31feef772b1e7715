"""What a ROS message holds: named numbers, or a picture. Any message type is read, by its fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kinema.data.formats.source import image_of
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_quat, rotvec_from_matrix

MOST_NUMBERS = 256  # of a message; what holds more is a scan or a map, not a state
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
TEXT = "std_msgs/msg/String"
_STATE, _TRAJECTORY = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"
_QUATERNION = "geometry_msgs/msg/Quaternion"
_COLOURS = {"rgb8": (3, [0, 1, 2]), "bgr8": (3, [2, 1, 0]), "rgba8": (4, [0, 1, 2]), "bgra8": (4, [2, 1, 0]),
            "mono8": (1, [0, 0, 0]), "8UC3": (3, [2, 1, 0])}  # fmt: skip


def stamp_ns(message: Any) -> int:
    """When a message says that it was taken; 0 where it says nothing."""
    header = getattr(message, "header", None)
    return 0 if header is None else header.stamp.sec * 10**9 + header.stamp.nanosec


def numbers(message: Any) -> dict[str, dict[str, float]]:
    """Numbers by channel, by the part they are of: "" for most messages, and what a joint state has more.

    Joints are called as the message calls them, whatever their order; of a trajectory the first point counts;
    a quaternion becomes a rotation vector; all else is called by its path of fields.
    """
    kind = message.__msgtype__
    if kind == _STATE:
        parts = {"": message.position, "velocity": message.velocity, "effort": message.effort}
        named = {part: dict(zip(message.name, values.tolist())) for part, values in parts.items()}
        return {part: values for part, values in named.items() if values or not part}
    if kind == _TRAJECTORY:
        first = message.points[0].positions if message.points else np.zeros(0)
        return {"": dict(zip(message.joint_names, first.tolist()))}
    return {"": dict(_leaves(message, ""))}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, float]]:
    kind = getattr(value, "__msgtype__", None)
    if kind == _QUATERNION:
        turn = rotvec_from_matrix(matrix_from_quat(np.array([value.w, value.x, value.y, value.z])))
        yield from zip((f"{path}.rx", f"{path}.ry", f"{path}.rz"), turn.tolist())
    elif kind is not None:
        for name in value.__dataclass_fields__:
            if name not in ("header", "layout", "__msgtype__"):
                yield from _leaves(getattr(value, name), f"{path}.{name}" if path else name)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        if value.size <= MOST_NUMBERS:
            yield from ((f"{path}.{i}", float(number)) for i, number in enumerate(value.reshape(-1)))
    elif isinstance(value, bool | int | float | np.number):
        yield path, float(value)


def picture_shape(message: Any, where: str) -> list[int]:
    """Height, width and channels; one channel of what is no colour."""
    if message.__msgtype__ == IMAGES[0]:
        return [message.height, message.width, 3 if message.encoding in _COLOURS else 1]
    if "compressedDepth" in message.format:
        return [1, 1, 1]
    return list(picture(message, where).shape)


def picture(message: Any, where: str) -> np.ndarray:
    """uint8 (H, W, 3) of rosbags' or rclpy's Image or CompressedImage. KinemaError for what is no colour."""
    if hasattr(message, "format"):
        return image_of(message.data.tobytes(), where)
    if message.encoding not in _COLOURS:
        raise KinemaError(f"{where} is encoded as {message.encoding}; readable: {', '.join(_COLOURS)}")
    channels, order = _COLOURS[message.encoding]
    rows = np.frombuffer(message.data, np.uint8)
    if message.step < message.width * channels or rows.size != message.height * message.step or not rows.size:
        raise KinemaError(
            f"{where} has {rows.size} bytes, which are not {message.height} rows of {message.step} with "
            f"{message.width} pixels of {channels}"
        )
    rows = rows.reshape(message.height, message.step)
    pixels = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    return np.ascontiguousarray(pixels[..., order])
