"""Pictures from outside, checked before anything large or slow is made of them.

A picture arrives as an array, whose size is the size of its bytes, or as PNG or JPEG, where a few kilobytes
can stand for gigabytes, or for minutes of work. There the size is read from the header; a JPEG may have only
a few scans, because each goes over the whole picture however short it is; and of a PNG only the chunks that
make the picture are given to the decoder, because each of the others may be a bomb of its own.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from PIL import Image

from kinema.serve.limits import Limits
from kinema.serve.refusal import Refusal

_SMALLEST_PX = 16  # as the policy asks
_MOST_SCANS = 16  # encoders make up to 10 of a progressive picture
_MOST_CHUNKS = 4096  # of a PNG; encoders make one for each 8 kB or more
_PNG = b"\x89PNG\r\n\x1a\n"
_PICTURE_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


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


def is_slow(images: Any) -> bool:
    """Whether reading these will take a while, which is then no work for an event loop."""
    values = images.values() if isinstance(images, Mapping) else ()
    return any(not isinstance(value, np.ndarray) or value.dtype != np.uint8 for value in values)


def _opened(name: str, value: Any, limits: Limits) -> np.ndarray | Image.Image:
    """An array as it is; of a file only the header has been read."""
    if isinstance(value, bytes):
        harmless = io.BytesIO(_harmless(name, value))
        try:
            image = Image.open(harmless, formats=("PNG", "JPEG"))
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


def _harmless(name: str, data: bytes) -> bytes:
    """The file without what costs more than its pixels. Raises Refusal where that cannot be taken out."""
    if data.startswith(_PNG):
        return _png_of_its_pixels(name, data)
    scans = data.count(b"\xff\xda")  # between markers a byte 0xff is always followed by 0
    if scans > _MOST_SCANS:
        raise Refusal("too_large", f"image {name[:40]!r} is a JPEG of {scans} scans; at most {_MOST_SCANS}")
    return data


def _png_of_its_pixels(name: str, data: bytes) -> bytes:
    kept, at = [_PNG], len(_PNG)
    for _ in range(_MOST_CHUNKS):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind in _PICTURE_CHUNKS:
            kept.append(data[at:end])
        if kind == b"IEND" or end > len(data):
            return b"".join(kept)
        at = end
    raise Refusal("too_large", f"image {name[:40]!r} is a PNG of more than {_MOST_CHUNKS} chunks")


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
