"""Digests of data and video files, so that a bit that flips on the disk is seen: meta/checksums/*.json.

Every change to a data set adds one small file that names what it wrote. A file of another size than is
written here was rewritten by somebody else, who does not know of the digests; one of the same size with
other content is damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from kinema.data.fault import Fault, Kind, remark
from kinema.data.info import read_json
from kinema.data.journal import Transaction
from kinema.schema import KinemaError

FOLDER = "meta/checksums"
_COVERED = ("data/", "videos/")


def stage(change: Transaction, number: int) -> None:
    """Add the digests of the staged data and videos to a change, as file `number` of its kind."""
    digests = {path: digest_of(change.path(path)) for path in change.staged() if path.startswith(_COVERED)}
    change.path(f"{FOLDER}/file-{number:06d}.json").write_text(json.dumps(digests, indent=1))


def stage_all(change: Transaction, root: Path, kept: set[str]) -> list[str]:
    """One file for a whole new state: the staged files and those in `kept`. Returns the old files."""
    known = {path: digest for path, digest in read(root).items() if path in kept}
    staged = {p: digest_of(change.path(p)) for p in change.staged() if p.startswith(_COVERED)}
    change.path(f"{FOLDER}/file-000000.json").write_text(json.dumps(known | staged, indent=1))
    return [str(path.relative_to(root)) for path in _files(root)]


def digest_of(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        blake2b = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return {"bytes": path.stat().st_size, "blake2b": blake2b}


def read(root: Path) -> dict[str, dict[str, int | str]]:
    """What is known, by path; what cannot be read is left out."""
    known: dict[str, dict[str, int | str]] = {}
    for path in _files(root):
        try:
            known |= {name: d for name, d in read_json(path).items() if isinstance(d, dict)}
        except KinemaError:
            continue
    return known


def faults(root: Path) -> Iterator[Fault]:
    """Files whose content is not what was written."""
    rewritten = []
    for name, known in sorted(read(root).items()):
        path = root / name
        if not name.startswith(_COVERED) or ".." in name or not path.is_file():
            continue  # missing files are named elsewhere
        if path.stat().st_size != known.get("bytes"):
            rewritten.append(name)
        elif digest_of(path) != known:
            detail = "some of its bits are not those that were written; bring the file back from a copy"
            yield Fault(kind=Kind.CHANGED, where=name, detail=detail, repairable=False)
    if rewritten:
        yield remark(
            FOLDER, f"{len(rewritten)} files were rewritten by another program, first {rewritten[0]}"
        )


def _files(root: Path) -> list[Path]:
    return sorted((root / FOLDER).glob("file-*.json"))
