"""What one client may send, checked before anything large is made of it.

A picture arrives as an array, whose size is the size of its bytes, or as PNG or JPEG, where a few kilobytes
can stand for gigabytes; there the size is read from the header and refused before a pixel is decoded.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from kinema.schema import KinemaError
from kinema.serve.refusal import Refusal

_FORMATS = ("PNG", "JPEG")
_SMALLEST_PX = 16  # as the policy asks


@dataclass(frozen=True, kw_only=True)
class Limits:
    """frame_bytes:        one websocket message or request body
    image_px:           either side of a picture
    images, megapixels: pictures in one observation, and all their pixels together
    message_hz, burst:  messages of one connection per second, and how many at once
    in_flight:          unanswered questions of one connection
    idle_s:             a connection that says nothing for so long is closed (a ping counts as speech)
    handshake_s:        time to finish asking for a connection, and to send the body of a request
    send_s:             time a client has to take an answer from its socket
    instruction_chars:  length of an instruction
    connections:        open at the same time
    """

    frame_bytes: int = 8 * 2**20
    image_px: int = 2048
    images: int = 8
    megapixels: float = 4.0
    message_hz: float = 200.0
    burst: int = 50
    in_flight: int = 4
    idle_s: float = 60.0
    handshake_s: float = 10.0
    send_s: float = 10.0
    instruction_chars: int = 1000
    connections: int = 256

    def __post_init__(self) -> None:
        low = [name for name, value in vars(self).items() if value <= 0]
        if low:
            raise KinemaError(f"limits must be above 0: {', '.join(low)}")

    def to_wire(self) -> dict[str, float]:
        """What a client is told when it connects."""
        told = (
            *("frame_bytes", "image_px", "images", "megapixels", "message_hz", "in_flight"),
            *("idle_s", "instruction_chars"),
        )
        return {name: getattr(self, name) for name in told}


class TokenBucket:
    """A rate with a burst: `take` says how many seconds are missing, 0 when the message may pass."""

    def __init__(self, hz: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._hz, self._burst, self._clock = hz, burst, clock
        self._tokens, self._then_s = float(burst), clock()

    def take(self) -> float:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._then_s) * self._hz)
        self._then_s = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._hz
        self._tokens -= 1
        return 0.0


def pictures(found: Any, wanted: Collection[str], limits: Limits) -> dict[str, np.ndarray]:
    """The wanted pictures, uint8 (H, W, 3), from arrays or PNG and JPEG bytes. Raises Refusal naming one.

    Pictures nobody wants are neither decoded nor kept.
    """
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise Refusal("bad_request", "images must be a map from camera names to pictures")
    if len(found) > limits.images:
        raise Refusal("too_large", f"{len(found)} images; at most {limits.images} are taken")
    missing = [name for name in wanted if name not in found]
    if missing:
        got = sorted(name[:40] for name in found)
        raise Refusal("bad_request", f"images of {missing} are missing; got {got}")
    opened = {name: _opened(name, found[name], limits) for name in wanted}
    pixels = sum(image.width * image.height if isinstance(image, Image.Image) else image.size // 3
                 for image in opened.values())  # fmt: skip
    if pixels > 1e6 * limits.megapixels:
        raise Refusal(
            "too_large", f"{1e-6 * pixels:.1f} megapixels of images; at most {limits.megapixels:g} are taken"
        )
    return {
        name: image if isinstance(image, np.ndarray) else _decoded(name, image)
        for name, image in opened.items()
    }


def is_encoded(images: Any) -> bool:
    """Whether decoding these will take a while, which is then no work for an event loop."""
    return isinstance(images, Mapping) and any(isinstance(value, bytes) for value in images.values())


def _opened(name: str, value: Any, limits: Limits) -> np.ndarray | Image.Image:
    """An array as it is; of a file only the header has been read."""
    if isinstance(value, bytes):
        try:
            image = Image.open(io.BytesIO(value), formats=_FORMATS)
        except Exception as error:  # decoders meet hostile bytes and answer with many kinds of error
            raise _unreadable(name, error) from None
        _check_size(name, *image.size, limits)
        return image
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3:
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise Refusal(
            "bad_request", f"image {name[:40]!r}: need uint8 (H, W, 3), or PNG or JPEG bytes; got {got}"
        )
    _check_size(name, value.shape[1], value.shape[0], limits)
    return value


def _decoded(name: str, image: Image.Image) -> np.ndarray:
    try:
        with image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # as above: half a file, a damaged stream
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: Exception) -> Refusal:
    return Refusal("bad_request", f"image {name[:40]!r} is no readable PNG or JPEG ({type(error).__name__})")


def _check_size(name: str, width: int, height: int, limits: Limits) -> None:
    if not (_SMALLEST_PX <= width <= limits.image_px and _SMALLEST_PX <= height <= limits.image_px):
        raise Refusal(
            "too_large" if max(width, height) > limits.image_px else "bad_request",
            f"image {name[:40]!r} is {width} x {height} pixels; "
            f"sides may have {_SMALLEST_PX} to {limits.image_px}",
        )
