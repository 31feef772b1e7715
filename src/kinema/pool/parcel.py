"""Files and folders that travel by value to a machine that lacks them, known by their SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from kinema.digest import file_digest
from kinema.schema import KinemaError


def cache_folder() -> Path:
    """Where a machine keeps what it was sent; it may be removed when nothing runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kinema" / "parcels"


def content_digest(path: Path) -> str:
    """SHA-256 of a file or of all files below a folder with their names; "" where there is nothing."""
    if not path.exists():
        return ""
    lines = (f"{file_digest(inner)}  {name}\n" for name, inner in sorted(_files(path).items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def pack(path: Path) -> dict[str, bytes]:
    """The content of a file or folder by path below it; a file's own is called `.`."""
    return {name: inner.read_bytes() for name, inner in _files(path).items()}


def unpack(content: Mapping[str, bytes], digest: str, name: str, cache: Path) -> Path:
    """Lay content down below the cache under this name, whole or not at all; returns where it lies.

    Raises KinemaError where it is not what the digest says.
    """
    place = cache / digest / name
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as partial:
            new = Path(partial) / digest
            for below, data in content.items():
                path = new / name / below if below != "." else new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            try:
                new.rename(cache / digest)
            except OSError:  # another worker was faster
                if not place.exists():
                    raise
    if content_digest(place) != digest:
        raise KinemaError(f"{place} is not what was sent (SHA-256); remove it and begin again")
    return place


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {".": path}
    return {inner.relative_to(path).as_posix(): inner for inner in path.rglob("*") if inner.is_file()}
