"""Pictures that are stored in the parquet files (dtype "image"): found by row, decoded by Pillow."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kinema.data.remote import here
from kinema.schema import KinemaError

_KEPT_BYTES = 256 * 2**20  # of the row groups that were read last
_KEPT_FILES = 16
_DEEP = ("I;16", "I;16B", "I;16L", "I")


class Embedded:
    """The stored pictures of a data set. Row groups stay in memory for a while: neighbours are asked next."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: OrderedDict[tuple[int, str], tuple[pq.ParquetFile, np.ndarray]] = OrderedDict()
        self._groups: OrderedDict[tuple[int, str, str, int], pa.ChunkedArray] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:  # open files do not travel to another process
        return {"_root": self._root, "_files": OrderedDict(), "_groups": OrderedDict()}

    def picture(self, path: str, key: str, row: int) -> np.ndarray:
        """uint8 (H, W, 3), or uint16 (H, W, 1) where that is stored. KinemaError names file and row."""
        where = f"{self._root / path}: {key}, row {row}"
        try:
            with self._opened(path, key, row) as image:
                return pixels(image)
        except _PICTURE_ERRORS as error:
            raise KinemaError(f"{where}: {_said(error)}") from None

    def size(self, path: str, key: str, row: int) -> tuple[int, int, int]:
        """Height, width and channels of a stored picture, without decoding it; KinemaError as above."""
        try:
            with self._opened(path, key, row) as image:
                return image.height, image.width, 1 if image.mode in (*_DEEP, "F") else 3
        except _PICTURE_ERRORS as error:
            raise KinemaError(f"{self._root / path}: {key}, row {row}: {_said(error)}") from None

    def _opened(self, path: str, key: str, row: int) -> Image.Image:
        stored = self._stored(path, key, row)
        if isinstance(stored, dict):
            stored = stored["bytes"] if stored.get("bytes") else stored.get("path")
        if isinstance(stored, str) and stored:
            inside = PurePosixPath(stored)
            if inside.is_absolute() or ".." in inside.parts:
                raise ValueError(f"the picture is outside the data set, at {stored!r}")
            return Image.open(self._root / stored)
        if not isinstance(stored, bytes):
            raise ValueError("there is no picture")
        return Image.open(io.BytesIO(stored))

    def _stored(self, path: str, key: str, row: int) -> Any:
        file, starts = self._file(path)
        group = int(np.searchsorted(starts, row, side="right")) - 1
        place = (os.getpid(), path, key, group)
        if place not in self._groups:
            self._groups[place] = file.read_row_group(group, columns=[key]).column(key)
            while len(self._groups) > 1 and sum(g.nbytes for g in self._groups.values()) > _KEPT_BYTES:
                self._groups.popitem(last=False)
        self._groups.move_to_end(place)
        return self._groups[place][row - int(starts[group])].as_py()

    def _file(self, path: str) -> tuple[pq.ParquetFile, np.ndarray]:
        place = (os.getpid(), path)  # a forked worker must not share the parent's file
        if place not in self._files:
            file = pq.ParquetFile(here(self._root / path), page_checksum_verification=True)
            rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._files[place] = file, np.cumsum([0, *rows])
            if len(self._files) > _KEPT_FILES:
                self._files.popitem(last=False)
        self._files.move_to_end(place)
        return self._files[place]


# What Pillow and Arrow raise at content that is not what it should be.
_PICTURE_ERRORS = (
    OSError, ValueError, TypeError, KeyError, IndexError, SyntaxError, EOFError, pa.ArrowException,
    Image.DecompressionBombError,
)  # fmt: skip


def pixels(image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3); uint16 (H, W, 1) of a picture with one channel of 16 bits."""
    if image.mode in _DEEP:
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError(f"values {deep.min()} … {deep.max()} do not fit 16 bits")
        return deep.astype(np.uint16)[..., None]
    if image.mode == "F":
        raise ValueError("pictures of floats are not read; store distances as 16-bit whole numbers")
    return np.asarray(image.convert("RGB"))


def _said(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is missing"
    return str(error) or type(error).__name__
