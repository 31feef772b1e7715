"""The runs below a folder, each as `kinema eval --out` left it: its results, and films that lie there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.bench.episode import EpisodeRecord
from kinema.bench.journal import read_records
from kinema.bench.results import Results
from kinema.schema import KinemaError, Result


@dataclass(frozen=True, kw_only=True)
class Training:
    """How an artifact came about, by its own account; samples and time with all that it was started from.

    windows: of the data sets that it saw last
    """

    parameters: int
    windows: int
    samples: int
    train_s: float
    hardware: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """One results.json. films: of failed episodes."""

    folder: Path
    results: Results
    films: tuple[tuple[EpisodeRecord, Path], ...]

    @property
    def benchmark(self) -> str:
        """Its name, and whose way of judging where it has several."""
        by = self.results.provenance["benchmark"].get("judged_as_by")
        return f"{self.results.benchmark}, as {by} judges" if by else self.results.benchmark

    @property
    def policy(self) -> str:
        """By its own account, else the code that acts."""
        told = self.results.provenance["policy"]
        return str(told.get("policy") or told["target"])

    @property
    def training(self) -> Training | None:
        """None for what was not trained."""
        artifact = self.results.provenance["policy"].get("artifact")
        if not artifact:
            return None
        sittings = list(_sittings(artifact))
        return Training(
            parameters=artifact["parameters"],
            windows=sum(data["windows"] for data in artifact["data"]),
            samples=sum(one["samples"] for one in sittings),
            train_s=sum(one["train_s"] for one in sittings),
            hardware=artifact["hardware"],
        )

    @property
    def weights(self) -> str:
        """SHA-256 of whatever weights made the number; empty for code."""
        made = self.results.provenance["weights"].get("policy", {})
        return str(made.get("sha256", ""))


def collect(folder: Path) -> tuple[Run, ...]:
    """Every run below `folder`, by the order of their folders' names.

    Raises KinemaError where there is none, and for a results.json of something else.
    """
    files = sorted(folder.rglob("results.json"), key=lambda file: file.parent)
    if not files:
        raise KinemaError(f"no results.json below {folder}; make one with: kinema eval … --out {folder}/NAME")
    return tuple(Run(folder=file.parent, results=_read(file), films=_films(file.parent)) for file in files)


def linked(film: Path, where: Path) -> str:
    """The film's address as seen from a page in the folder `where`."""
    return Path(os.path.relpath(film, where)).as_posix()


def _read(file: Path) -> Results:
    try:
        results = Results.load(file)
        told = {*results.provenance} >= {"benchmark", "policy", "weights", "seed", "seed_rule", "versions"}
    except (json.JSONDecodeError, TypeError):
        told = False
    if not told:
        raise KinemaError(
            f"{file} holds no results of `kinema eval` on a benchmark of tasks; keep other files elsewhere"
        )
    return results


def _films(folder: Path) -> tuple[tuple[EpisodeRecord, Path], ...]:
    """What failed and was filmed, where the journal and the films lie beside the results."""
    if not (folder / "episodes.jsonl").is_file():
        return ()
    filmed = [(record, folder / "videos" / record.video) for record in read_records(folder) if record.video]
    failed = [(one, film) for one, film in filmed if one.result == Result.FAILURE and film.is_file()]
    return tuple(sorted(failed, key=lambda pair: (pair[0].task, pair[0].index)))


def _sittings(artifact: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The training that made it, and before it that of what it was started from."""
    before: Mapping[str, Any] | None = artifact
    while before:
        yield before
        before = before["started_from"]
