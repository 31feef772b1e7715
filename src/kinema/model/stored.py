"""The folder of an artifact: read with each fault named, replaced as a whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from kinema.card.card import EmbodimentCard
from kinema.schema import KinemaError


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises KinemaError: `what` is incomplete, or the file is damaged."""
    _check_there(path, what)
    with meaning_of(path):
        return load_file(path)


def read_weights(path: Path, what: str, bring: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
    """Weights, each brought to where and how it will be held before the next one is read.

    bring: of a name and what is stored, something in memory of its own. Raises KinemaError as `read_tensors`.
    The file is opened anew for each: what has been read of an open one counts as memory as well.
    """
    _check_there(path, what)
    with meaning_of(path):
        with safe_open(path, "pt") as file:
            names = list(file.keys())
        found = {}
        for name in names:
            with safe_open(path, "pt") as file:
                found[name] = bring(name, file.get_tensor(name))
        return found


def read_header(path: Path, what: str) -> dict[str, str]:
    """What a safetensors file says of itself. Raises KinemaError as `read_tensors` does."""
    _check_there(path, what)
    with meaning_of(path), safe_open(path, "pt") as file:
        return file.metadata() or {}


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The object of a JSON file. Raises KinemaError: `what` is incomplete, or the file is damaged."""
    _check_there(path, what)
    with meaning_of(path):
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise TypeError(f"it holds {str(found)[:40]!r} and not an object")
    return found


def read_card(path: Path, what: str) -> EmbodimentCard:
    """The card of a body, as an artifact keeps it. Raises KinemaError as `read_json` does."""
    _check_there(path, what)
    with meaning_of(path):
        return EmbodimentCard.model_validate_json(path.read_bytes(), strict=True)


@contextmanager
def meaning_of(path: Path) -> Iterator[None]:
    """In here what a file says becomes values; whatever does not fit is a KinemaError that names the file."""
    try:
        yield
    except KinemaError:
        raise
    except KeyError as error:
        raise KinemaError(f"{path} is damaged: it has no {error}") from error
    except (ValueError, TypeError, AttributeError, RuntimeError, OSError, SafetensorError) as error:
        raise KinemaError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def _check_there(path: Path, what: str) -> None:
    if not path.is_file():
        raise KinemaError(f"{what} is incomplete: no file {path}")


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder to write into, which takes the place of `folder` when all is written and on the disk.

    What fails or is killed before that leaves `folder` as it was; nothing of its old content is in the new.
    """
    fresh, old = (folder.with_name(f".{folder.name}.{part}") for part in ("partial", "old"))
    for left_by_a_kill in (fresh, old):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        flush(fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    flush_one(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def flush(folder: Path) -> None:
    """All that lies below a folder to the disk."""
    for root, _, names in os.walk(folder):
        for name in (*names, "."):
            flush_one(Path(root) / name)


def flush_one(path: Path) -> None:
    """The bytes of a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
