"""What is refused leaves nothing behind, whatever the command and whichever of its words is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from kinema import cli
from kinema.commands.data import make_data
from kinema.commands.eval import evaluate
from kinema.commands.terminal import writable

SENTENCE = "put the red block in the blue bowl"
BASES = [
    ["run", SENTENCE],
    *(["eval", benchmark, "--episodes", "1"] for benchmark in evaluate.BENCHMARKS),
    ["eval", "tabletop", "--episodes", "1", "--world", "imagined"],
    ["train", "debug", "--steps", "1"],
    ["imagine", "--scene", "1", SENTENCE],
    ["dream", "--episodes", "1"],
    *(["data", "make", world, "--episodes", "1"] for world in make_data.WORLDS),
    ["data", "convert", "nobody"],
    ["data", "inspect", "nobody"],
    ["robots", "from-urdf", "nobody", "--name", "arm"],
    ["robots", "wiring", "panda", "nobody:nothing"],
    ["retarget", "nobody", "--robot", "ur5e"],
]
FREE = {"--out", "--cache", "--save", "--data", "--instruction"}  # any text will do, or a folder to be made


def _command(words: list[str]) -> Any:
    command = cli.command()
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    return command


def _refused() -> Iterator[list[str]]:
    """Every command with every one of its options that take a word or a file: nobody is called that."""
    for base in BASES:
        command = _command(base)
        hints = get_type_hints(command.callback)
        for option in command.params:
            hint, name = hints.get(option.name), option.opts[0]
            if name.startswith("--") and name not in FREE and {str, Path} & {hint, *get_args(hint)}:
                yield [*base, name, "nobody"]


REFUSED = [
    *_refused(),
    ["train", "nobody"],
    ["train", "debug", "--resume"],
    ["train", "nano_tabletop", "--data", "nobody"],
    ["eval", "nobody"],
    ["eval", "tabletop", "--policy", "nobody:nothing", "--robots", "panda"],
    ["data", "make", "nobody"],
    ["data", "make", "libero", "--families", "object/0"],  # no environment there
    *([*base] for base in BASES if "nobody" in base),
    ["keys", "make", "", "--out", "file"],
    ["keys", "make", "a\nb"],
    ["keys", "make", "sound", "--rate", "-1"],
    ["keys", "make", "sound", "--out", "nowhere/file"],
    ["keys", "list"],
    ["keys", "list", "--database", "sqlite:///new/one.sqlite"],
    ["keys", "revoke", "sound"],
]


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_is_refused_leaves_nothing(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINEMA_HOME", str(tmp_path / "home"))
    has_out = "--out" in {option.opts[0] for option in _command(arguments).params} - set(arguments)
    assert cli.exit_code([*arguments, *(["--out", "below/X"] if has_out else [])]) == 2
    assert capsys.readouterr().err.startswith("kinema: ")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [["run", SENTENCE], ["eval", "tabletop", "--episodes", "1"], ["train", "debug", "--steps", "1"],
     ["imagine", "--scene", "1", SENTENCE], ["dream", "--episodes", "1"],
     ["data", "make", "tabletop", "--episodes", "1"]],
    ids=" ".join,
)  # fmt: skip
def test_a_folder_that_cannot_be_written_is_told_before_the_work(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("is no folder")
    for out in ("file", "file/below"):
        assert cli.exit_code([*arguments, "--out", out]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"kinema: nothing can be written into {out} (")
        assert "--out" in said
    assert os.listdir(tmp_path) == ["file"]


def test_whether_a_folder_can_be_written_is_asked_without_making_it(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("new/below", "there/new", "there"):
        assert writable(tmp_path / name) == tmp_path / name
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
