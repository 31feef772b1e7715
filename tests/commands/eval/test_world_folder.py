"""Whichever command asks for a world model, the same folder is found or the same is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kinema import cli
from kinema.bench.run import RunSettings
from kinema.bench.world.films import BODIES
from kinema.commands.eval.eval_world import evaluate_world, imagines_factory
from kinema.commands.eval.judged import Sitting
from kinema.commands.imagine import beside, imagine
from kinema.schema import KinemaError


def made(folder: Path) -> Path:
    folder.mkdir()
    (folder / "world.json").write_text("{}")
    return folder


def ship(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be the folder that came with the package."""
    for module in (imagine, beside):
        monkeypatch.setattr(module, "SHIPPED_FOLDER", folder)


def test_all_find_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "world")
    ship(folder, monkeypatch)
    assert imagine.world_folder("shipped") == beside.shipped_world() == folder
    assert imagines_factory("shipped").arguments == {"folder": str(folder)}


def test_a_folder_of_the_users_own(tmp_path: Path) -> None:
    folder = made(tmp_path / "mine")
    assert imagine.world_folder(str(folder)) == folder
    assert imagines_factory(str(folder)).arguments == {"folder": str(folder)}


@pytest.mark.parametrize("name", ["shipped", "empty", "nowhere"])
def test_all_say_the_same_of_one_that_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()  # a folder, but no artifact in it
    ship(tmp_path / "missing", monkeypatch)
    with pytest.raises(KinemaError, match="no world model in ") as told:
        imagine.world_folder(name)
    with pytest.raises(KinemaError) as told_judging:
        imagines_factory(name)
    assert str(told_judging.value) == f"{told.value}, repeat, expert"
    assert beside.shipped_world() is None
    assert cli.exit_code(["bench", "imagine", "--world", name]) == 2
    assert str(told.value) in capsys.readouterr().err


def test_a_baseline_needs_no_folder() -> None:
    assert imagines_factory("repeat").arguments == {}


class _AskedError(Exception):
    """Judging would begin now."""


@pytest.mark.parametrize(
    ("provenance", "given", "judged"),
    [
        ({"clips": {"aloha": 3, "ur5e": 5}}, (), ["aloha", "ur5e"]),
        ({"clips": {"aloha": 3, "ur5e": 5}}, ("ur5e",), ["ur5e"]),
        ({"by": "a test"}, ("panda",), ["panda"]),
        ({"by": "a test"}, (), list(BODIES)),
        (None, (), list(BODIES)),  # a baseline knows no bodies of its own
    ],
    ids=["taught", "given", "untold and given", "untold", "baseline"],
)
def test_a_world_model_is_judged_on_the_bodies_it_was_trained_on(
    provenance: Mapping[str, Any] | None, given: tuple[str, ...], judged: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: list[RunSettings] = []

    def begin(settings: RunSettings, *_: object, **__: object) -> None:
        asked.append(settings)
        raise _AskedError

    monkeypatch.setattr("kinema.bench.run.run", begin)
    model = "repeat"
    if provenance is not None:
        model = str(made(tmp_path / "mine"))
        (tmp_path / "mine" / "world.json").write_text(json.dumps({"provenance": provenance}))
    with pytest.raises(_AskedError):
        evaluate_world(model, bodies=given, tasks=(), sitting=Sitting(out=tmp_path / "out", episodes=1))
    assert asked[0].benchmark.arguments == {"bodies": judged}


def test_a_body_that_a_world_model_does_not_know_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    (made(tmp_path / "mine") / "world.json").write_text('{"provenance": {"clips": {"aloha": 3}}}')
    sitting = Sitting(out=tmp_path / "out", episodes=1)
    with pytest.raises(KinemaError, match="not trained on my_arm; it knows aloha"):
        evaluate_world(str(tmp_path / "mine"), bodies=("aloha", "my_arm"), tasks=(), sitting=sitting)
    assert not sitting.out.exists()
