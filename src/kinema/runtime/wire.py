"""Values on the wire: msgpack with numpy arrays, nothing that can run, nothing larger than it is sent.

An array is a map `{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [..]}` and a numpy scalar
`{b"__npgeneric__": True, b"data": item, b"dtype": ".."}`, which is the form openpi's clients speak. Marker
keys are written as bytes and read as bytes or str. Only numbers and booleans travel; an array's bytes must be
exactly as many as its shape says, so no short message unpacks into a large one.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgpack
import numpy as np

from kinema.schema import KinemaError

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_MAX_DIMENSIONS = 8
_MAX_ITEMS = 4096  # of a list or a map: long vectors are arrays
_LARGEST = 2**31 - 1


class WireError(KinemaError):
    """The bytes are not a message of ours."""


def pack(value: Any) -> bytes:
    """Bytes of a value made of maps, lists, strings, bytes, numbers, None and numpy arrays."""
    try:
        return msgpack.packb(value, default=_marked)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"cannot be sent: {error}") from None


def unpack(data: bytes | bytearray | memoryview) -> Any:
    """The value of `pack`'s bytes; arrays are read-only views. Raises WireError for anything else."""
    try:
        return msgpack.unpackb(
            data,
            object_hook=_unmarked,
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
            max_ext_len=0,
            max_str_len=_LARGEST,
            max_bin_len=_LARGEST,
        )
    except WireError:
        raise
    except (
        msgpack.exceptions.UnpackException,
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise WireError(f"not a msgpack message: {_short(error)}") from None


def _marked(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and not _DTYPE.fullmatch(value.dtype.str):
        raise TypeError(f"arrays of {value.dtype} are not sent; only numbers and booleans are")
    if isinstance(value, np.ndarray):
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"a {type(value).__name__} cannot be packed")


def _unmarked(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" in found or "__ndarray__" in found:
        return _array(found)
    if b"__npgeneric__" in found or "__npgeneric__" in found:
        return _scalar(found)
    return found


def _array(found: dict[Any, Any]) -> np.ndarray:
    data, shape, dtype = _part(found, "data"), _part(found, "shape"), _dtype(_part(found, "dtype"))
    if not isinstance(data, bytes):
        raise WireError(f"an array's data must be bytes, got {type(data).__name__}")
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise WireError(f"an array's shape must be a list of at most {_MAX_DIMENSIONS} sizes")
    if not all(type(size) is int and 0 <= size <= _LARGEST for size in shape):
        raise WireError("an array's sizes must be whole numbers from 0")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise WireError(f"an array of shape {shape} and type {dtype} does not have {len(data)} bytes")
    return np.ndarray(shape, dtype, buffer=data)


def _scalar(found: dict[Any, Any]) -> np.generic:
    dtype, data = _dtype(_part(found, "dtype")), _part(found, "data")
    if not isinstance(data, bool | int | float):
        raise WireError(f"a number must be a number, got {type(data).__name__}")
    return dtype.type(data)


def _part(found: dict[Any, Any], name: str) -> Any:
    for key in (name.encode(), name):
        if key in found:
            return found[key]
    raise WireError(f"an array without its {name}")


def _dtype(name: Any) -> np.dtype:
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise WireError(f"no array type {str(text)[:20]!r}; numbers and booleans only")
    return np.dtype(text)


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:120]
