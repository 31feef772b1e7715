"""Data sets that lie elsewhere: a folder here has their metadata, and their files as these are asked for.

Whatever reads a data set reads such a folder: the places where files are opened ask `here` for them first.
Places are what `fsspec` knows: `hf://datasets/OWNER/NAME@REVISION`, `s3://…`, `gs://…`, `https://…`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from kinema.data.journal import HIDDEN, disk_errors
from kinema.data.new_folder import new_folder
from kinema.data.optional import library
from kinema.schema import KinemaError

MANIFEST = f"{HIDDEN}/remote.json"
_KEPT = ("meta/", "data/", "videos/", "images/")
_NOW = ("meta/", "kinema.yaml")  # what is brought at once
_TRIES = 3
PLACE = "KINEMA_CACHE"  # the environment's word for where caches are kept


def mirror(url: str, into: Path) -> Path:
    """Make `into` a data set whose metadata are here and whose files come on demand. Returns it.

    One that is there already stays as it is. Raises KinemaError where `url` is no data set or cannot be
    read, or `into` holds something else.
    """
    if (into / MANIFEST).is_file():
        there = _manifest(into)["url"]
        if there != url:
            raise KinemaError(f"{into} is a mirror of {there}; name another folder")
        return into
    prefix, sizes = _listed(url)
    with new_folder(into) as making:
        (making / HIDDEN).mkdir(exist_ok=True)
        now_ns = time.time_ns()
        about = {"url": url, "prefix": prefix, "time_ns": now_ns, "files": sizes}
        (making / MANIFEST).write_text(json.dumps(about))
        for relative in sizes:
            if relative.startswith(_NOW):
                fetch(making / relative)
    return into


def local(place: str) -> Path:
    """The folder of a data set that is named by its folder or by its address.

    What an address names is mirrored below KINEMA_CACHE, else in the user's cache, once for all processes.
    Raises KinemaError as `mirror` does.
    """
    if "://" not in place:
        return Path(place)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    below = os.environ.get(PLACE) or Path(base) / "kinema"
    digest = hashlib.blake2b(place.encode(), digest_size=4).hexdigest()
    name = re.sub(r"[^\w.-]", "_", PurePosixPath(place.rstrip("/")).name)
    into = Path(below) / "mirrors" / f"{name}-{digest}"
    with disk_errors(f"{place} could not be brought to {into}"):
        into.parent.mkdir(parents=True, exist_ok=True)
        with (into.parent / f".{into.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return mirror(place, into)


def here(path: Path) -> Path:
    """A data set's file as it is, brought here first where the set is a mirror and the file not here yet."""
    if not path.exists():
        fetch(path)
    return path


def fetch(path: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    """Bring a file of a mirror, whole or not at all; what no mirror names is left to its reader to miss.

    Raises KinemaError where it cannot be had, or is not as large as it was when the set was mirrored.
    """
    root = _mirror_of(path)
    if root is None:
        return
    about, relative = _manifest(root), str(PurePosixPath(path.relative_to(root)))
    if relative not in about["files"]:
        return
    source, size = f"{about['prefix']}/{relative}", about["files"][relative]
    with _alone(root, relative), disk_errors(f"{relative} of {about['url']} could not be brought to {root}"):
        if path.exists():  # another process was at it
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        _get(about["url"], source, part, sleep)
        if size is not None and part.stat().st_size != size:
            part.unlink()
            raise KinemaError(
                f"{about['url']}: {relative} is not what it was when the set was mirrored; remove {root} and "
                f"mirror it again"
            )
        os.utime(part, ns=(about["time_ns"], about["time_ns"]))
        os.replace(part, path)


def stated(path: Path) -> tuple[int, int] | None:
    """Size and time [ns] that a file of a mirror will have; None where no mirror names it."""
    root = _mirror_of(path)
    if root is None:
        return None
    about = _manifest(root)
    size = about["files"].get(str(PurePosixPath(path.relative_to(root))))
    return None if size is None else (size, about["time_ns"])


def names(root: Path) -> frozenset[str]:
    """The files that a mirror has or can bring; none of a set that is no mirror."""
    return frozenset(_manifest(root)["files"]) if (root / MANIFEST).is_file() else frozenset()


def _mirror_of(path: Path) -> Path | None:
    return next((folder for folder in path.parents if (folder / MANIFEST).is_file()), None)


def _manifest(root: Path) -> Mapping[str, Any]:
    return _read(root / MANIFEST, (root / MANIFEST).stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: Path, time_ns: int) -> Mapping[str, Any]:
    return dict(json.loads(path.read_text()))


def _listed(url: str) -> tuple[str, dict[str, int | None]]:
    """Where the set begins, and the size of each of its files by path below it (None: not said)."""
    with _errors(url):
        fs, start = library("fsspec.core", "remote", "sets that lie elsewhere").url_to_fs(url)
        found = fs.find(start, detail=True)
    ends = [path for path in found if path.endswith("/meta/info.json")]
    if not ends:
        raise KinemaError(f"{url} holds no meta/info.json; expected the address of a LeRobot data set")
    prefix = min(ends, key=len).removesuffix("/meta/info.json")
    sizes: dict[str, int | None] = {}
    for path, about in found.items():
        relative = path.removeprefix(f"{prefix}/")
        inside = ".." not in PurePosixPath(relative).parts and not relative.startswith("/")
        if relative != path and inside and (relative.startswith(_KEPT) or relative == "kinema.yaml"):
            sizes[relative] = about.get("size")
    return prefix, sizes


def _get(url: str, source: str, part: Path, sleep: Callable[[float], None]) -> None:
    """Bring one file; what a network loses once is asked for again."""
    for again in range(_TRIES):
        try:
            fs, _ = library("fsspec.core", "remote", "sets that lie elsewhere").url_to_fs(url)
            fs.get_file(source, str(part))
            return
        except (FileNotFoundError, PermissionError, KinemaError):
            with _errors(f"{url}: {source}"):
                raise
        except Exception:
            if again == _TRIES - 1:
                with _errors(f"{url}: {source}"):
                    raise
            sleep(4.0**again)


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """One line for whatever a file system in the distance raises; each has errors of its own."""
    try:
        yield
    except KinemaError:
        raise
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else ""
        raise KinemaError(f"{where} cannot be read: {type(error).__name__}: {said}") from error


@contextmanager
def _alone(root: Path, relative: str) -> Iterator[None]:
    """One process brings a file; the others wait for it."""
    lock = root / HIDDEN / "fetching" / hashlib.blake2b(relative.encode(), digest_size=8).hexdigest()
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
