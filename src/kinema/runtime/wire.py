"""Values on the wire: msgpack with numpy arrays, nothing that can run, nothing larger than it is sent.

An array is a map `{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [..]}` and a numpy scalar
`{b"__npgeneric__": True, b"data": item, b"dtype": ".."}`, which is the form openpi's clients speak. Marker
keys are written as bytes and read as bytes or str. Only numbers and booleans travel; an array's bytes must be
exactly as many as its shape says, so no short message unpacks into a large one.

The work that bytes can cause is known before it is done: the items of a message are counted first, jumping
over texts and bytes, and a message of more than `most_items` is refused where the count passes that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
import numpy as np

from kinema.schema import KinemaError

T = TypeVar("T")
Bytes = bytes | bytearray | memoryview

MOST_ITEMS = 4096  # of one message, in all its lists and maps together: long vectors are arrays
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_MAX_DIMENSIONS = 8
_LARGEST = 2**31 - 1
# How long what follows a msgpack code is: bytes of its own, or of the size that it begins with.
_FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


class WireError(KinemaError):
    """The bytes are not a message of ours."""


def pack(value: Any) -> bytes:
    """Bytes of a value made of maps, lists, strings, bytes, numbers, None and numpy arrays."""
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"cannot be sent: {error}") from None


def unpack(data: Bytes, *, most_items: int = MOST_ITEMS) -> Any:
    """The value of `pack`'s bytes; arrays are read-only views. Raises WireError for anything else."""
    value = decode(data, Any, most_items=most_items)
    try:
        return unmarked(value)
    except RecursionError:
        raise WireError("not a msgpack message: too deep") from None


def decode(data: Bytes, kind: Any, *, most_items: int = MOST_ITEMS) -> Any:
    """The message of this type (a msgspec.Struct, a union of them) in the bytes. Raises WireError."""
    data = bytes(data)
    _count(data, most_items)
    try:
        return _decoder(kind).decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise WireError(f"not a message of ours: {_short(error)}") from None


def convert(value: Mapping[str, Any], kind: type[T]) -> T:
    """The message of this type in what `unpack` gave, or in what is about to be packed. Raises WireError."""
    try:
        return msgspec.convert(value, kind, dec_hook=array_hook)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise WireError(f"not a message of ours: {_short(error)}") from None


def array_hook(kind: type, value: Any) -> Any:
    """What stands in a message where the type says `np.ndarray`: an array, or a list of numbers."""
    if kind is not np.ndarray:
        raise NotImplementedError(f"no way to read a {kind.__name__}")
    value = unmarked(value) if isinstance(value, dict) else value
    if isinstance(value, list):
        return _of_list(value)
    if not isinstance(value, np.ndarray):
        raise ValueError(f"must be an array or a list of numbers, got {type(value).__name__}")
    return value


def _of_list(value: list[Any]) -> np.ndarray:
    try:
        found = np.array(value, dtype=object)
        if found.size == 0 or set(map(type, found.ravel())) <= {int, float}:
            return found.astype(np.float64)
    except (OverflowError, ValueError):
        pass
    raise ValueError("must be an array, or a list (of lists of the same length) of numbers")


@lru_cache(maxsize=64)
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind, dec_hook=array_hook)


def _count(data: bytes, most_items: int) -> None:
    """Raises WireError where there are more items than `most_items`, or more promised than are there."""
    at = items = 0
    owed = 1
    try:
        while owed:
            code = data[at]
            at, owed, items = at + 1, owed - 1, items + 1
            if code in _SIZED:
                width = _SIZED[code]
                size = int.from_bytes(data[at : at + width], "big")
                at += width
                if code < 0xDC:
                    at += size
                else:
                    owed += size if code < 0xDE else 2 * size
            elif code in _FIXED:
                at += _FIXED[code]
            elif 0x80 <= code < 0xA0:
                owed += 2 * (code & 15) if code < 0x90 else code & 15
            elif 0xA0 <= code < 0xC0:
                at += code & 31
            elif 0xC7 <= code <= 0xC9 or 0xD4 <= code <= 0xD8:
                raise WireError("not a msgpack message: extensions are not taken")
            if items + owed > most_items:
                raise WireError(f"a message has at most {most_items} items; long vectors are arrays")
    except IndexError:
        raise WireError("not a msgpack message: it ends too soon") from None


def _marked(value: Any) -> Any:
    if isinstance(value, float):
        return float(value)  # np.float64 is one, and travels as one
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


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_marked)


def unmarked(value: Any) -> Any:
    """The value with its marked maps as arrays and numpy's scalars, at every depth."""
    if isinstance(value, list):
        return [unmarked(item) for item in value]
    if not isinstance(value, dict):
        return value
    if b"__ndarray__" in value or "__ndarray__" in value:
        return _array(value)
    if b"__npgeneric__" in value or "__npgeneric__" in value:
        return _scalar(value)
    return {name: unmarked(item) for name, item in value.items()}


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
    try:
        return dtype.type(data)
    except (OverflowError, ValueError) as error:
        raise WireError(f"a number of type {dtype}: {error}") from None


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
    return (str(error) or type(error).__name__)[:200]
