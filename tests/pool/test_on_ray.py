"""The pool's laws on a cluster of two nodes of this machine; what is made there equals what is made here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workers import Squaring

from kinema.bench.benchmark import Factory
from kinema.bench.episode import EpisodeRecord
from kinema.bench.journal import read_records
from kinema.bench.run import run
from kinema.bench.settings import RunSettings
from kinema.commands.data.make import make
from kinema.commands.data.play import Task
from kinema.pool.on_ray import OnRay
from kinema.pool.pool import Lost, Pool
from kinema.schema import KinemaError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
SMALL: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


def _path(source: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(map(str, (source, HERE, HERE.parent / "bench")))}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Any]:
    """Two nodes with a CPU each, and a cache of their own."""
    utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONPATH", _path(SOURCE)["PYTHONPATH"])
        patch.syspath_prepend(str(HERE.parent / "bench"))
        started = utils.Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
        started.add_node(**SMALL)
        yield started
        started.shutdown()


def pool(cluster: Any, notes: Path, count: int = 2, **work: Any) -> Pool:
    return Pool(OnRay(cluster.address), Squaring(notes=str(notes), **work), count)


def test_the_laws_of_the_pool(cluster, tmp_path):
    plain = [("square", number) for number in range(8)]
    with pool(cluster, tmp_path) as workers:
        items = [*plain[:3], ("die once", 3), *plain[4:]]
        assert list(workers.run_in_order(items)) == [(item, item[1] ** 2) for item in items]
        assert len(list(tmp_path.glob("die once3.*"))) == 2
        assert not [path for path in tmp_path.glob("square*") if not path.name.endswith(".0")], "done twice"
        found = dict(workers.run([("die", 0), *plain[4:]]))
        assert isinstance(found.pop(("die", 0)), Lost)
        assert found == {item: item[1] ** 2 for item in plain[4:]}
        with pytest.raises(KinemaError, match=r"^1 and more$"):
            list(workers.run([("refuse oddly", 1)]))
        with pytest.raises(ZeroDivisionError, match=r"^2 broke$"):
            list(workers.run([("crash", 2)]))
        workers._limit_s = 1.0
        assert list(workers.run([("hang", 0)])) == [
            (("hang", 0), Lost("ran longer than 1 s and was stopped"))
        ]
    assert len(list(tmp_path.glob("close.*"))) == 1, "the other was stopped"


def test_what_cannot_be_is_said_before_anything_is_done(cluster, tmp_path):
    with (
        pytest.raises(KinemaError, match=r"2 nodes of .* have 2; choose --workers 2"),
        pool(cluster, tmp_path, 3),
    ):
        pass
    unfit = pool(cluster, tmp_path, unfit="no artifact at this path")
    with pytest.raises(KinemaError, match=r"^on a node of .*: no artifact at this path$"), unfit:
        pass


def test_files_that_a_node_lacks_are_sent(cluster, tmp_path):
    """A worker begins after the file is gone from where the pool found it."""
    (tmp_path / "weights").write_text("1, 2, 3")
    (tmp_path / "notes").mkdir()
    with pool(cluster, tmp_path / "notes", reads=(str(tmp_path / "weights"),)) as workers:
        (tmp_path / "weights").unlink()
        found = [result for _, result in workers.run_in_order([("die once", 0), ("die once", 1)])]
        assert found == [0, 1]
        assert [result for _, result in workers.run([("read", 0)])] == ["1, 2, 3"]


def test_a_node_with_another_source_is_refused(cluster, tmp_path):
    shutil.copytree(SOURCE / "kinema", tmp_path / "kinema", ignore=shutil.ignore_patterns("artifacts"))
    with (tmp_path / "kinema" / "schema.py").open("a") as file:
        file.write("# another line\n")
    other = cluster.add_node(**SMALL, env_vars=_path(tmp_path))
    try:
        told = r"kinema's source \w{12} and not \w{12}, as here"
        with pytest.raises(KinemaError, match=told), pool(cluster, tmp_path, count=3):
            pass
    finally:
        cluster.remove_node(other)


def played(out: Path) -> list[EpisodeRecord]:
    records = [replace(record, timing={}) for record in read_records(out)]
    return sorted(records, key=lambda record: (record.task, record.index))


def written(out: Path) -> dict[str, bytes]:
    """Everything below a folder by its name."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lost", ["worker", "node"])
def test_an_evaluation_equals_the_local_one_though_something_is_lost(lost, cluster, tmp_path):
    from toy_benchmark import DOOMED

    doom = tmp_path / "doom"
    doom.mkdir()
    settings = RunSettings(
        benchmark=Factory(
            target="toy_benchmark:ToyBenchmark", arguments={"tasks": ("left", "crash"), "doom": str(doom)}
        ),
        policy=Factory(target="toy_benchmark:DiffusingPolicy"),
        episodes=6,
        seed=5,
    )
    run(settings, tmp_path / "here", quiet=True)
    (doom / lost).touch()
    third = cluster.add_node(**SMALL, env_vars={DOOMED: "1"}) if lost == "node" else None
    there = run(settings, tmp_path / "there", workers=3 if third else 2, quiet=True, ray=cluster.address)
    assert not (doom / lost).exists(), "nothing was lost"
    assert there.provenance["ray_nodes"] == (3 if third else 2)
    assert played(tmp_path / "there") == played(tmp_path / "here")
    assert written(tmp_path / "there" / "videos") == written(tmp_path / "here" / "videos") != {}
    assert written(tmp_path / "there" / "errors") == written(tmp_path / "here" / "errors") != {}


def test_data_equal_those_that_are_made_here(cluster, tmp_path):
    tasks = [
        Task(world="tabletop", card="panda", name=name, noise=1.0, image_size=32)
        for name in ("button", "push")
    ]
    make(tasks, tmp_path / "here", episodes=2, workers=1)
    make(tasks, tmp_path / "there", episodes=2, workers=2, ray=cluster.address)
    assert written(tmp_path / "there") == written(tmp_path / "here") != {}


def test_a_cluster_of_this_machine_alone(tmp_path):
    with Pool(OnRay("local"), Squaring(notes=str(tmp_path)), 2) as workers:
        assert [result for _, result in workers.run_in_order([("square", 2), ("square", 3)])] == [4, 9]
