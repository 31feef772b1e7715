"""A set that lies elsewhere is read as one that lies here, and only what is read is brought."""

from __future__ import annotations

import functools
import http.server
import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest

from kinema import cli
from kinema.data import remote
from kinema.data.frames import images_of
from kinema.data.index import Index
from kinema.data.lerobot import Dataset
from kinema.data.numbers import Numbers
from kinema.data.verify import verify
from kinema.schema import KinemaError

fsspec = pytest.importorskip("fsspec")
URL = "memory://bucket/sets/mine"


@pytest.fixture
def store(unfinished_once: Path):
    """A set of one data and video file an episode, in an object store in memory."""
    fs = fsspec.filesystem("memory")
    fs.put(f"{unfinished_once}/", "/bucket/sets/mine/", recursive=True)
    yield fs
    fs.rm("/bucket", recursive=True)


def brought(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.suffix in (".mp4", ".parquet")
                  and p.relative_to(root).parts[0] != "meta")  # fmt: skip


def test_files_come_when_they_are_read(store, unfinished_once, tmp_path):
    root, local = remote.mirror(URL, tmp_path / "here"), Dataset.open(unfinished_once)
    index = Index.open(root)
    assert brought(root) == []
    assert index.num_frames == local.num_frames
    first = index.episode_bounds[2, 0]
    np.testing.assert_array_equal(index.frames("front", [first]), local.frames("front", [first]))
    assert brought(root) == ["videos/observation.images.front/chunk-000/file-002.mp4"]


def test_windows_from_afar_are_those_of_the_set(store, unfinished_once, tmp_path):
    root = remote.mirror(URL, tmp_path / "here")
    caches = [tmp_path / "cache-afar", tmp_path / "cache-here"]
    steps = np.array([0, 8, 24, 3])
    afar, here = Index.open(root), Index.open(unfinished_once)
    for way in ("decode", "cache"):
        pictures = [images_of(i, way, size=16, cameras=i.camera_names, directory=c)(steps)
                    for i, c in zip((afar, here), caches)]  # fmt: skip
        np.testing.assert_array_equal(*pictures)
    numbers = [Numbers(i, ["action"], c)["action"][steps] for i, c in zip((afar, here), caches)]
    np.testing.assert_array_equal(*numbers)
    assert verify(root) == []
    # what was cached while files were far away is not stale now that they are here
    built = {p: p.stat().st_mtime_ns for p in caches[0].rglob("*") if p.is_file()}
    again = images_of(Index.open(root), "cache", size=16, cameras=afar.camera_names, directory=caches[0])
    np.testing.assert_array_equal(again(steps), pictures[0])
    assert {p: p.stat().st_mtime_ns for p in built} == built


def _read(root: Path) -> None:
    Dataset.open(root)


def test_processes_bring_a_file_once(store, tmp_path, monkeypatch):
    root = remote.mirror(URL, tmp_path / "here")
    context = multiprocessing.get_context("fork")  # the store in memory goes with it
    workers = [context.Process(target=_read, args=(root,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(brought(root)) == 4
    assert not list(root.rglob(".*.part"))


def test_what_the_network_loses_is_asked_for_again(store, tmp_path, monkeypatch):
    root = remote.mirror(URL, tmp_path / "here")
    get, waited, failing = type(store).get_file, [], 2

    def flaky(self, source, target, **options):
        nonlocal failing
        if failing:
            failing -= 1
            Path(target).write_bytes(b"half")
            raise ConnectionError("lost")
        return get(self, source, target, **options)

    monkeypatch.setattr(type(store), "get_file", flaky)
    path = root / "data/chunk-000/file-000.parquet"
    remote.fetch(path, sleep=waited.append)
    assert path.stat().st_size == store.size("/bucket/sets/mine/data/chunk-000/file-000.parquet")
    assert len(waited) == 2
    failing = 3
    with pytest.raises(KinemaError, match="cannot be read: ConnectionError: lost"):
        remote.fetch(root / "data/chunk-000/file-001.parquet", sleep=waited.append)
    assert brought(root) == ["data/chunk-000/file-000.parquet"]


def test_a_source_that_changed_is_said(store, tmp_path):
    root = remote.mirror(URL, tmp_path / "here")
    store.pipe("/bucket/sets/mine/data/chunk-000/file-001.parquet", b"another")
    with pytest.raises(KinemaError, match=r"file-001.parquet is not what it was when the set was mirrored"):
        Dataset.open(root)


def test_a_mirror_is_made_once_and_of_one_place(store, tmp_path, capsys):
    line = ["data", "mirror", URL, "--into", str(tmp_path / "here")]
    assert cli.exit_code(line) == 0
    assert "4 episodes, 25 frames; files come as they are read" in capsys.readouterr().out
    before = (tmp_path / "here" / remote.MANIFEST).read_text()
    assert cli.exit_code(line) == 0
    assert (tmp_path / "here" / remote.MANIFEST).read_text() == before
    for url, said in (
        ("memory://bucket/sets/other", "is a mirror of memory://bucket/sets/mine; name another folder"),
    ):
        assert cli.exit_code(["data", "mirror", url, "--into", str(tmp_path / "here")]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://nowhere", "holds no meta/info.json"),
        ("magic://set", "cannot be read: ValueError: Protocol not known: magic"),
    ],
)
def test_what_is_no_set_is_one_line(url, said, tmp_path, capsys):
    assert cli.exit_code(["data", "mirror", url, "--into", str(tmp_path / "here")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_web_server_will_do(recorded_once, tmp_path):
    pytest.importorskip("aiohttp")
    handler = functools.partial(_Quiet, directory=str(recorded_once))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        root = remote.mirror(f"http://127.0.0.1:{server.server_port}", tmp_path / "here")
        assert brought(root) == []
        afar, local = Dataset.open(root), Dataset.open(recorded_once)
        np.testing.assert_array_equal(afar.action, local.action)
        np.testing.assert_array_equal(afar.frames("wrist", [5, 1]), local.frames("wrist", [5, 1]))
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def test_videos_that_were_deleted_come_again(store, unfinished_once, tmp_path):
    root, local = remote.mirror(URL, tmp_path / "here"), Dataset.open(unfinished_once)
    for _ in range(2):
        np.testing.assert_array_equal(Index.open(root).frames("front", [0]), local.frames("front", [0]))
        (root / brought(root)[0]).unlink()


def test_an_address_is_mirrored_once_and_a_folder_is_itself(store, tmp_path, monkeypatch):
    monkeypatch.setenv(remote.PLACE, str(tmp_path / "kept"))
    first = remote.local(URL)
    assert first.parent == tmp_path / "kept" / "mirrors"
    assert first.name.startswith("mine-")
    assert brought(first) == []
    store.rm("/bucket/sets/mine/meta", recursive=True)
    assert remote.local(URL) == first  # it is not looked for again
    assert remote.local("a/folder") == Path("a/folder")
    with pytest.raises(KinemaError, match=r"memory://bucket/other holds no meta/info\.json"):
        remote.local("memory://bucket/other")
    assert len(list((tmp_path / "kept" / "mirrors").glob("[!.]*"))) == 1
    monkeypatch.delenv(remote.PLACE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    with pytest.raises(KinemaError, match=r"holds no meta/info\.json"):
        remote.local(URL)
