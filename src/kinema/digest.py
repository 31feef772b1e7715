"""What an artifact is, by its content and not by where it lies: the SHA-256 of its files.

`sha256sum weights.safetensors` gives the same number where an artifact has one file of weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

_SILENT = ("provenance.json", "example.safetensors")  # they tell of the artifact; no answer depends on them
_READ = (".safetensors", ".json", ".yaml")


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of an artifact that its answers depend on, by path below the folder."""
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _READ and path.name not in _SILENT and path.is_file()
    )
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in found}


def file_digest(path: Path) -> str:
    """SHA-256 of one file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(files: Mapping[str, str]) -> str:
    """One number for the weights among the files of `file_digests`; "" where there are none.

    Of one file it is that file's own SHA-256, of several the SHA-256 of what `sha256sum` prints of them.
    """
    weights = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
    if len(weights) < 2:
        return next(iter(weights.values()), "")
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(weights.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
