"""LIBERO played by one worker, by two, and on Ray; skips where it has not been installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from short_libero import STEPS

from kinema.bench.benchmark import Factory
from kinema.bench.episode import EpisodeRecord
from kinema.bench.journal import read_records
from kinema.bench.libero.suites import LIBERO
from kinema.bench.run import run
from kinema.bench.settings import RunSettings
from kinema.schema import Result

FOUND = Path(os.environ.get(LIBERO.variable) or LIBERO.folder) / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOUND.is_file(), reason=f"no LIBERO at {FOUND}: {LIBERO.script} makes it"),
    pytest.mark.timeout(1800),
]
Films = dict[str, bytes]
TASKS = ("spatial/0", "object/3")
SETTINGS = RunSettings(
    benchmark=Factory(
        target="short_libero:ShortLibero", arguments={"suites": ["spatial", "object"], "look": "plain"}
    ),
    policy=Factory(target="kinema.bench.random_policy:RandomPolicy"),
    episodes=2,
    seed=1_000_003,
    tasks=TASKS,
)


def played(out: Path, **how: object) -> tuple[list[EpisodeRecord], Films]:
    """Records without what was measured of the machine, and films."""
    run(SETTINGS, out, quiet=True, **how)
    records = [replace(record, timing={}) for record in read_records(out)]
    films = {path.name: path.read_bytes() for path in (out / "videos").iterdir()}
    return sorted(records, key=lambda record: (record.task, record.index)), films


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[EpisodeRecord], Films]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        yield played(tmp_path_factory.mktemp("one"))


def test_two_workers_play_what_one_plays(by_one: tuple[list[EpisodeRecord], Films], tmp_path: Path) -> None:
    records, films = by_one
    assert [(record.task, record.steps, record.result) for record in records] == [
        (task, STEPS, Result.FAILURE) for task in sorted(TASKS) for _ in range(2)
    ]
    assert len(set(films.values())) == 4, "all different"
    assert played(tmp_path, workers=2) == (records, films)


def test_ray_plays_what_one_worker_plays(by_one: tuple[list[EpisodeRecord], Films], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert played(tmp_path, workers=2, ray="local") == by_one
