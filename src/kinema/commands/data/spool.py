"""Pictures on the disk while an episode is recorded: a long one needs no more memory than a short one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from kinema.schema import KinemaError

_log = logging.getLogger(__name__)


class Spool:
    """Takes pictures of several cameras one by one and gives them back by number.

    shapes: (height, width, 3) of each camera's pictures; others are brought to it
    """

    def __init__(self, folder: Path, shapes: Mapping[str, tuple[int, int, int]]) -> None:
        self._folder, self._shapes = folder, dict(shapes)
        if left := sum(path.stat().st_size for path in folder.glob("*")):  # of a recording that was killed
            _log.warning(
                "%s: the last recording was killed; its last episode is lost, and %.3g MB of its "
                "pictures are deleted",
                folder, left / 1e6,
            )  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._files: dict[str, BinaryIO] = {name: (folder / name).open("w+b") for name in shapes}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, pictures: Mapping[str, np.ndarray]) -> None:
        """One picture uint8 (H, W, 3) of every camera. Raises OSError when the disk is full."""
        for name, shape in self._shapes.items():
            if name not in pictures:
                raise KinemaError(f"no picture of camera {name!r}; there are {sorted(pictures)}")
            file = self._files[name]
            file.seek(self._length * int(np.prod(shape)))  # over what a failed attempt may have left
            file.write(np.ascontiguousarray(_sized(pictures[name], shape)).data)
        self._length += 1

    def pictures(self, camera: str, rows: np.ndarray) -> Pictures:
        """The pictures with these numbers, read when they are asked for."""
        return Pictures(self._files[camera], self._shapes[camera], rows)

    def clear(self) -> None:
        self._length = 0
        for file in self._files.values():
            file.truncate(0)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Pictures:
    """What the writer needs of an array uint8 (T, H, W, 3), one picture in memory at a time."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, file: BinaryIO, shape: tuple[int, int, int], rows: np.ndarray) -> None:
        self._file, self._rows = file, rows
        self.shape = (len(rows), *shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._read(row) for row in self._rows)

    def __getitem__(self, index: int | np.integer | slice | np.ndarray) -> np.ndarray:
        if isinstance(index, int | np.integer):
            return self._read(self._rows[index])
        return np.stack([self._read(row) for row in self._rows[index]])

    def _read(self, row: Any) -> np.ndarray:
        size = int(np.prod(self.shape[1:]))
        self._file.seek(int(row) * size)
        return np.frombuffer(self._file.read(size), np.uint8).reshape(self.shape[1:])


def _sized(picture: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    if picture.shape == shape:
        return picture
    resized = Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized)
