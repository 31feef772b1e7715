"""Whatever has become of a file of an artifact, loading says so in one sentence that names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from kinema.commands.shipped import ARTIFACTS
from kinema.model.film import inverse_artifact
from kinema.model.film.eyes import load_eyes
from kinema.model.gate import artifact as gate_artifact
from kinema.model.policy import artifact
from kinema.model.stored import replacing
from kinema.model.world import scene2robot
from kinema.schema import KinemaError
from laws import examples

LOAD: dict[str, Callable[[Any], object]] = {
    "nano": artifact.load,
    "gate": gate_artifact.load,
    "inverse": inverse_artifact.load,
    "film_detector": load_eyes,
}
FILES = [
    (name, path.relative_to(ARTIFACTS / name))
    for name in LOAD
    for path in sorted((ARTIFACTS / name).rglob("*"))
    if path.is_file()
]
CONTENTS = [b"", b"\xff\xfe\x00\x81" * 9, b"[1, 2]", b"{}", b"null", b"3", b'"text"', None, "folder", "half"]
VALUES = [None, "x", -1, [], {}, 1e300]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("artifacts")
    for name in LOAD:
        shutil.copytree(ARTIFACTS / name, root / name)
    return root


def spoil(path: Path, content: Any) -> None:
    """Make the file one of CONTENTS."""
    whole = path.read_bytes()
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)


def said_of(copies: Path, name: str) -> str:
    """What loading says, "" where it finds no fault. Anything but a KinemaError is let through."""
    try:
        LOAD[name](copies / name)
    except KinemaError as error:
        return str(error)
    return ""


@examples(20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.sampled_from(FILES), content=st.sampled_from(CONTENTS))
def test_a_damaged_file_is_named(copies: Path, which: tuple[str, Path], content: Any) -> None:
    name, file = which
    path = copies / name / file
    whole = path.read_bytes()
    spoil(path, content)
    try:
        said = said_of(copies, name)
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(whole)
    if said:
        assert str(copies / name) in said
    else:  # what only tells of the artifact may say anything that is an object
        assert (file.name, content) == ("provenance.json", b"{}")


@examples(20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.sampled_from([(name, file) for name, file in FILES if file.suffix == ".json"]),
    data=st.data(),
)
def test_an_entry_that_is_gone_or_something_else_is_said(
    copies: Path, which: tuple[str, Path], data: st.DataObject
) -> None:
    name, file = which
    path = copies / name / file
    whole = path.read_bytes()
    entries = json.loads(whole)
    key = data.draw(st.sampled_from(sorted(entries)))
    if data.draw(st.booleans()):
        del entries[key]
    else:
        entries[key] = data.draw(st.sampled_from(VALUES))
    path.write_text(json.dumps(entries))
    try:
        said = said_of(copies, name)  # some entries may be anything: then nothing is said, and nothing raised
    finally:
        path.write_bytes(whole)
    assert not said or str(copies / name) in said


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("transformer/diffusion_pytorch_model.safetensors", None),
        ("connector/config.json", b"[1, 2]"),
        ("model_index.json", b"{}"),
        ("scene2robot.json", b"null"),
    ],
)
def test_a_damaged_part_of_a_pipeline_is_named(file: str, content: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(ARTIFACTS / "scene2robot", tmp_path / "made")
    spoil(folder / file, content)
    with pytest.raises(KinemaError, match=str(folder)):
        scene2robot.load(folder)


def test_what_is_no_folder_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for load in LOAD.values():
        for name in ("file", "empty", "nowhere"):
            with pytest.raises(KinemaError, match=name):
                load(tmp_path / name)


def test_a_folder_is_replaced_by_what_was_written_whole(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "artifact"
    with replacing(folder) as fresh:
        (fresh / "one").write_text("1")
        assert not folder.exists()
    with suppress(RuntimeError), replacing(folder) as fresh:
        (fresh / "two").write_text("2")
        raise RuntimeError
    (folder.with_name(".artifact.partial")).mkdir()  # as a kill leaves it
    (folder.with_name(".artifact.partial") / "half").write_text("")
    assert [path.name for path in folder.iterdir()] == ["one"]
    with replacing(folder) as fresh:
        (fresh / "three").write_text("3")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "a", "a/artifact", "a/artifact/three",
    ]  # fmt: skip
