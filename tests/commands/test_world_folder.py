"""Whichever command asks for a world model, the same folder is found or the same is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema import cli
from kinema.commands import beside, imagine
from kinema.commands.eval_world import imagines_factory
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
