"""The command line: every command explains itself, and bad input is one line, never a trace."""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

from kinema import cli
from kinema.commands.terminal import choose, saved_on_interrupt, table
from kinema.schema import KinemaError


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, child in getattr(command, "commands", {}).items():
        yield (*path, name), child
        yield from _commands(child, (*path, name))


ALL = dict(_commands(cli.command()))
LEAVES = {path: command for path, command in ALL.items() if not hasattr(command, "commands")}


def _examples(command: Any) -> list[str]:
    text = (command.epilog or "").removeprefix("Example: ")
    return [line.strip() for line in text.split("\n\n") if line.strip()]


def _ids(path: tuple[str, ...]) -> str:
    return " ".join(path)


def test_the_seven_commands_are_there() -> None:
    assert {path[0] for path in ALL} >= {"run", "eval", "train", "data", "robots", "bench", "doctor"}


@pytest.mark.parametrize("path", list(ALL), ids=_ids)
def test_help_answers(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.exit_code([*path, "--help"]) == 0
    assert " ".join(["Usage: kinema", *path]) in capsys.readouterr().out


@pytest.mark.parametrize("path", list(LEAVES), ids=_ids)
def test_every_command_has_an_example_that_parses(path: tuple[str, ...]) -> None:
    lines = _examples(LEAVES[path])
    assert lines, f"kinema {_ids(path)} has no example in its help"
    for line in lines:
        words = shlex.split(line)
        if "-m" in words:  # a launcher that starts modules
            words = words[words.index("-m") + 1 :]
        assert words[: 1 + len(path)] == ["kinema", *path], line
        LEAVES[path].make_context(_ids(path), words[1 + len(path) :])


@pytest.mark.parametrize("path", list(LEAVES), ids=_ids)
def test_every_option_and_argument_is_explained(path: tuple[str, ...]) -> None:
    silent = [p.name for p in LEAVES[path].params if p.name != "help" and not getattr(p, "help", None)]
    assert silent == []


def one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail on its input; give back the one line it says."""
    assert cli.exit_code(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("kinema: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rn"], "No such command 'rn'"),
        (["--bogus"], "--bogus"),
        (["robots"], "kinema robots --help"),
        (["robots", "show"], "Missing argument"),
        (["robots", "show", "pnda"], "did you mean 'panda'"),
        (["robots", "check", "nowhere/none.yaml"], "cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in one_line(arguments, capsys)


def test_a_card_with_a_wrong_key_names_the_right_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kinema.card import load

    text = (Path(load.__file__).parent / "robots" / "panda.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(re.sub(r"^control_hz:", "control_herz:", text, flags=re.MULTILINE))
    said = one_line(["robots", "check", str(path)], capsys)
    assert "control_herz" in said
    assert "did you mean 'control_hz'" in said


def test_a_fault_of_ours_keeps_its_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli, "command", lambda: broken)
    assert cli.exit_code(["doctor"]) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/run.mp4"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("a writer of somebody else's: I/O error: No space left on device (os error 28)"),
    ],
    ids=["named file", "no file", "wrapped"],
)
def test_a_full_disk_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "command", lambda: full)
    assert "No space left on device" in one_line(["doctor"], capsys)


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(**_: object) -> None:
        raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")

    monkeypatch.setattr(cli, "command", lambda: missing)
    assert "mujoco" in one_line(["doctor"], capsys)


def test_ctrl_c_ends_with_130_and_says_what_is_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        with saved_on_interrupt(lambda: "3 episodes are in out/x"):
            raise KeyboardInterrupt

    app = typer.Typer()
    app.command("work")(stopped)
    app.command("other")(lambda: None)
    monkeypatch.setattr(cli, "command", lambda: typer.main.get_command(app))
    assert cli.exit_code(["work"]) == 130
    assert "3 episodes are in out/x" in capsys.readouterr().err


def test_robots_list_names_every_card(capsys: pytest.CaptureFixture[str]) -> None:
    from kinema.card.load import card_names

    assert cli.exit_code(["robots", "list"]) == 0
    printed = capsys.readouterr().out
    assert card_names()
    assert all(re.search(rf"^{name}\s", printed, re.MULTILINE) for name in card_names())


def test_choose_suggests() -> None:
    assert choose("recipe", "debug", ["debug", "nano"]) == "debug"
    with pytest.raises(KinemaError, match="did you mean debug"):
        choose("recipe", "debgu", ["debug", "nano"])
    with pytest.raises(KinemaError, match="choices: a, b"):
        choose("letter", "zzzz", ["a", "b"])


def test_table_aligns() -> None:
    assert table([("a", 10)], ("name", "n")).splitlines() == ["name  n", "----  --", "a     10"]


def _numbers() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every numeric option of every command."""
    for path, command in LEAVES.items():
        hints = get_type_hints(command.callback)
        for option in command.params:
            hint = hints.get(option.name)
            if {int, float} & {hint, *get_args(hint)}:
                yield path, option


NUMBERS = {f"{_ids(path)} {option.opts[0]}": (path, option) for path, option in _numbers()}


def test_options_are_found_by_their_types() -> None:
    assert {"train --lr-scale", "train --steps", "robots home --at", "keys make --quota"} <= NUMBERS.keys()


def _no_usual_numbers() -> Iterator[tuple[str, str]]:
    """But where the default is infinite, no end is a value; and a coordinate may be negative."""
    for which, (_, option) in NUMBERS.items():
        yield from ((which, value) for value in ("nan", "-inf"))
        if option.default != float("inf"):
            yield which, "inf"
        if option.nargs == 1:
            yield which, "-1"


@pytest.mark.parametrize(("which", "value"), list(_no_usual_numbers()))
def test_what_is_no_usual_number_is_refused(
    which: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the option, before the command begins."""
    path, option = NUMBERS[which]
    assert option.opts[0] in one_line([*path, option.opts[0], *[value] * option.nargs], capsys)
