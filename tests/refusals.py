"""What a command says of an order that it refuses."""

from __future__ import annotations

import pytest

from kinema import cli


def one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which `kinema` refuses these words."""
    assert cli.exit_code(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("kinema: ")
    assert said.count("\n") == 1
    return said
