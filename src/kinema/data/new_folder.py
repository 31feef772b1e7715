"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kinema.data.journal import WriterLock, disk_errors, flush, is_being_written
from kinema.schema import KinemaError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """An empty folder to write into; it becomes `out`, flushed to the disk, by one rename at the end.

    A kill before that leaves `.NAME.making` beside `out`, which the next try sweeps away; an error leaves
    nothing. Raises KinemaError where `out` exists or another process is making it.
    """
    if out.exists():
        raise KinemaError(f"{out} exists; name a folder that does not")
    making = out.parent / f".{out.name}.making"
    if is_being_written(making):
        raise KinemaError(f"{out} is being made by another process")
    with disk_errors(f"{out} could not be made"):
        _sweep(making)
        making.mkdir(parents=True)
        lock = WriterLock(making)
        try:
            yield making
            _flush_below(making)
            making.rename(out)
            flush(out.parent)
        except BaseException:
            _sweep(making)
            raise
        finally:
            lock.release()


def _sweep(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _flush_below(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            flush(Path(place) / name)
        flush(Path(place))
